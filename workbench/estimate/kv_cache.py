"""Memory of the key-value cache."""

from workbench.core.errors import NotAvailable
from workbench.core.models import ModelSpec


def kv_bytes_per_token(model: ModelSpec, *, kv_bits: float = 16) -> float:
    """Cache of one token over all layers; sliding windows are counted as if they were full."""
    if model.kv_elements_per_token is None:
        raise NotAvailable(
            f"The layers of {model.name} differ in kind; its cache is not one number per token.",
            remedy="Measure it with the long-context notebook.",
        )
    return model.kv_elements_per_token * kv_bits / 8
