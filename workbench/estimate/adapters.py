"""Memory of LoRA adapters: two matrices of a rank beside each linear layer."""

from workbench.catalog.model_spec import ModelSpec
from workbench.estimate.linear_layers import products

SLICES = {"qkv": 3, "gate_up": 2}
"""Layers that engines run as one product: each has an input matrix of its own (vLLM 0.32.0, lora/layers/base_linear.py)."""


def adapter_weights(model: ModelSpec, *, rank: int) -> int:
    """Return the weights of an adapter for all linear layers that every token passes; output head and routed experts are left out."""
    return sum(p.n_layers * rank * (SLICES.get(p.role, 1) * p.columns + p.rows) for p in products(model).values())


def adapter_bytes(model: ModelSpec, *, rank: int, bits: float = 16) -> float:
    """Return the memory of an adapter, or of one slot of a server whose largest rank it is."""
    return adapter_weights(model, rank=rank) * bits / 8
