"""What a long-context measurement refuses before it starts; needs no GPU package."""

from workbench.catalog.models import model_spec_from
from workbench.core.context_quality import ContextQualitySpec
from workbench.core.devices import Device
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.long_context import LongContextSpec
from workbench.core.models import ModelSpec
from workbench.core.units import shown_bytes
from workbench.estimate.weights import weight_bytes


def number_bits(device: Device) -> int:
    """Width of the numbers that PyTorch computes with: bfloat16 on a GPU, float32 on a processor."""
    return 16 if device.kind == "cuda" else 32


def check_fits(spec: LongContextSpec, model: ModelSpec, device: Device) -> None:
    """Raise ``InvalidSpec`` for lengths beyond the model's, and ``DoesNotFit`` when the weights alone do not fit."""
    longest = max(spec.lengths)
    if model.max_context_tokens and longest > model.max_context_tokens:
        raise InvalidSpec(
            f"{longest} tokens are more than {model.name} was made for: {model.max_context_tokens}.",
            remedy=f"Use lengths up to {model.max_context_tokens}; what memory would hold is found by the search.",
        )
    bits = number_bits(device)
    weights = weight_bytes(model, weight_bits=bits, other_bits=bits)
    if weights > device.free_bytes:
        raise DoesNotFit(
            f"The weights of {model.name} take {shown_bytes(weights)}; "
            f"{shown_bytes(device.free_bytes)} of {device.name} are free.",
            remedy="Free memory, or use a smaller model or a larger device.",
        )


def check_lengths(spec: ContextQualitySpec) -> None:
    """Raise ``InvalidSpec`` when a text would be longer than the model can read."""
    model = model_spec_from(spec.model)
    longest = max((*spec.lengths, spec.window_tokens if spec.n_windows and not spec.url else 0))
    if model.max_context_tokens and longest > model.max_context_tokens and not spec.url:
        raise InvalidSpec(
            f"{longest} tokens are more than {model.name} was made for: {model.max_context_tokens}.",
            remedy=f"Use lengths up to {model.max_context_tokens}.",
        )
