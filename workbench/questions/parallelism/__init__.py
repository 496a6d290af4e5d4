"""How many of which devices, split how, a load needs."""
