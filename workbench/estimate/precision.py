"""Precisions that a model can be served in: the one that its checkpoint has, and those that are made of it."""

from workbench.catalog.formats import FORMATS
from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.language import gettext
from workbench.estimate.linear_layers import one_precision, routed_weights

STORED = "stored"
"""Stands for the precision of the checkpoint, whichever that is."""
CHOICES = {STORED: "as the checkpoint is stored"} | {name: form.label for name, form in FORMATS.items()}
"""Precisions that can be asked for, with their labels."""
OFFERED = ("fp8", "w4a16", "mxfp4", "nvfp4")
"""Precisions that a checkpoint in more bits is usually served in."""
EXPERTS_ONLY = ("mxfp4",)
"""Formats that leave attention, routers and shared layers of a mixture of experts in 16 bits, as OpenAI's checkpoints do."""


def require_precision(*precisions: str) -> None:
    """Raise ``InvalidSpec`` for a name that is no precision."""
    unknown = [p for p in precisions if p != STORED and p not in FORMATS]
    if unknown:
        raise InvalidSpec(
            gettext("Unknown precision {name}.").format(name=repr(unknown[0])),
            remedy=gettext("Use: {first}, {names}.").format(first=STORED, names=", ".join(FORMATS)),
        )


def official_precision(model: ModelSpec) -> str:
    """Return the name in ``FORMATS`` of what the checkpoint stores; BF16 where it is not quantized.

    Raises:
        NotAvailable: It is quantized in a way that no format is like.
    """
    if model.stored is None:
        return "bf16"
    if model.stored.precision is None:
        raise NotAvailable(
            gettext("{model} is stored as {method}, whose products are not known here.").format(
                model=model.name, method=model.stored.method
            ),
            remedy=gettext("Name the nearest precision with --precision, such as w4a16 for 4 bits or w8a16 for 8."),
        )
    return model.stored.precision


def chosen_precision(model: ModelSpec, precision: str) -> str:
    """Return a precision with ``STORED`` put into words."""
    return official_precision(model) if precision == STORED else precision


def offered_precisions(model: ModelSpec) -> tuple[str, ...]:
    """Return the precision of the checkpoint and those in fewer bits that can be made of it."""
    official = official_precision(model)
    return (official, *(p for p in OFFERED if FORMATS[p].bits < FORMATS[official].bits))


def roles_of(model: ModelSpec, precision: str) -> dict[str, str]:
    """Return the format of each role of a model that is served in one precision."""
    roles = one_precision(model, precision)
    if precision in EXPERTS_ONLY and model.experts is not None:
        return dict.fromkeys(roles, "bf16") | {"gate_up": precision}
    return roles


def weight_bits_of(model: ModelSpec, precision: str) -> float:
    """Return the mean bits of the weights between embeddings and output head, scales included.

    Those of the checkpoint where that is its precision, so that all weights together are as many bytes as it has.
    """
    plain = model.n_end_params + model.n_vision_params
    inner = model.n_params - plain
    if model.stored is not None and model.stored.precision == precision:
        return (8 * model.stored.n_bytes - 16 * plain) / inner
    bits = FORMATS[precision].stored_bits(in_features=model.hidden)
    if precision in EXPERTS_ONLY and model.experts is not None:
        routed = routed_weights(model)
        return (routed * bits + (inner - routed) * 16) / inner
    return bits
