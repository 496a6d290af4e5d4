"""What a long-context measurement refuses before it starts; needs no GPU package."""

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import model_spec_from
from workbench.core.devices import Device
from workbench.core.errors import DoesNotFit
from workbench.core.language import gettext
from workbench.core.units import shown_bytes
from workbench.estimate.context_limit import require_within_context
from workbench.estimate.weights import weight_bytes
from workbench.questions.long_context.spec import DEFAULT_CACHE_TOKENS, LongContextSpec
from workbench.telemetry.devices import chosen_device


def number_bits(device: Device) -> int:
    """Return the width of the numbers that PyTorch computes with: bfloat16 on a GPU, float32 on a processor."""
    return 16 if device.kind == "cuda" else 32


def check_fits(spec: LongContextSpec, model: ModelSpec, device: Device) -> None:
    """Raise ``InvalidSpec`` for lengths beyond the model's, and ``DoesNotFit`` when the weights alone do not fit."""
    require_within_context(model, max(spec.lengths_for(model.max_context_tokens)), spec.decode_steps)
    if spec.caches and spec.cache_tokens != DEFAULT_CACHE_TOKENS:
        require_within_context(model, spec.cache_tokens, spec.decode_steps)
    bits = number_bits(device)
    weights = weight_bytes(model, weight_bits=bits, other_bits=bits)
    if weights > device.free_bytes:
        raise DoesNotFit(
            gettext("The weights of {model} take {needed}; {free} of {device} are free.").format(
                model=model.name,
                needed=shown_bytes(weights),
                free=shown_bytes(device.free_bytes),
                device=device.name,
            ),
            remedy=gettext("Free memory, or use a smaller model or a larger device."),
        )


def check_fits_here(spec: LongContextSpec) -> None:
    """Raise what ``check_fits`` raises, for the spec's model and the device that it chooses."""
    check_fits(spec, model_spec_from(spec.model), chosen_device(spec.device))
