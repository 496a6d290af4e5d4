"""Memory of weights, and the time that reading them takes."""

from workbench.catalog.model_spec import ModelSpec


def weight_bytes(model: ModelSpec, *, weight_bits: float, other_bits: float = 16) -> float:
    """Return the stored bytes of a model whose linear layers are quantized (bits with scales), embeddings, output head and towers for images not."""
    plain = model.n_end_params + model.n_vision_params
    return (plain * other_bits + (model.n_params - plain) * weight_bits) / 8


def decode_floor_s(read_bytes: float, *, bandwidth_bytes_per_s: float) -> float:
    """Return the least time of a decode step at batch 1: every stored weight is read once."""
    return read_bytes / bandwidth_bytes_per_s
