"""How much memory LoRA adapters take on a device that need not be here, and the price of a tenant."""
