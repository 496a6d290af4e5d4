"""Memory of weights, and the time that reading them takes."""

from workbench.core.models import ModelSpec


def weight_bytes(model: ModelSpec, *, weight_bits: float, other_bits: float = 16) -> float:
    """Stored weights when the linear layers are quantized and embeddings and output head are not.

    Args:
        model: The shape.
        weight_bits: Bits per weight of the linear layers, with their scales.
        other_bits: Bits of everything else.
    """
    heads = model.vocab_size * model.hidden * (1 if model.tied_embeddings else 2)
    return (heads * other_bits + (model.n_params - heads) * weight_bits) / 8


def decode_floor_s(read_bytes: float, *, bandwidth_bytes_per_s: float) -> float:
    """Least time of a decoding step at batch 1: every stored weight is read once."""
    return read_bytes / bandwidth_bytes_per_s
