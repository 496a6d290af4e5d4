"""What several LoRA adapters on one server cost: memory, TTFT, TPOT and throughput by number, rank and skew, and the price of a tenant."""
