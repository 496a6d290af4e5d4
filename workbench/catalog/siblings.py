"""Quantized checkpoints that others have published of a model: those that ship as rows, and those that the hub lists now."""

import re
from dataclasses import dataclass
from functools import cache

from workbench.catalog.csv_rows import rows_of
from workbench.catalog.hub import HubModel, hub_quantized, is_hub_name
from workbench.catalog.models import aliases
from workbench.catalog.served import FP8_KV
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext

SERVES = {"w4a16": ("w4a16", "w4a16-asym"), "nvfp4a16": ("nvfp4a16", "nvfp4")}
"""Precisions of checkpoints that serve a precision which is asked for, the closest first; others serve themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """A checkpoint with the weights of a model in another precision."""

    model: str
    sibling: str
    """Its name on the hub."""
    precision: str = ""
    """As in ``FORMATS``, or nvfp4, mxfp4, mxfp8; "" where its name and tags do not say it."""
    method: str = ""
    bytes: int | None = None
    """Of its weights; None where they are not published."""
    source: str
    date: str

    def __post_init__(self) -> None:
        if not is_hub_name(self.sibling):
            raise ValueError(
                gettext("{name} is no name of the hub").format(name=f"{self.sibling!r:.60}") + ": `sibling`"
            )


@cache
def _rows() -> tuple[Sibling, ...]:
    return tuple(rows_of("siblings.csv", Sibling))


def siblings_of(model: str) -> list[Sibling]:
    """Return the known quantized checkpoints of a model, those of its own publisher first."""
    names = {model, aliases().get(model, model)}
    names |= {alias for alias, name in aliases().items() if name == model}
    owner = model.split("/", maxsplit=1)[0]
    found = [row for row in _rows() if row.model in names]
    return sorted(found, key=lambda row: row.sibling.split("/")[0] != owner)


def sibling_for(model: str, precision: str) -> str | None:
    """Return the name of a published checkpoint of a model in a precision; None where none is known."""
    form = precision.removesuffix(FP8_KV)
    for wanted in SERVES.get(form, (form,)):
        for row in siblings_of(model):
            if row.precision == wanted:
                return row.sibling
    return None


def listed_siblings(model: str) -> tuple[list[Sibling], str | None]:
    """Return the checkpoints that the hub lists now, or the rows that ship, and why the hub was not asked or did not answer."""
    if not is_hub_name(model):
        return siblings_of(model), f"{model} is no name of the hub"
    try:
        return [_from_hub(model, found) for found in hub_quantized(model) if is_hub_name(found.name)], None
    except NotAvailable as error:
        return siblings_of(model), error.cause


PRECISIONS = (
    (r"nvfp4", "nvfp4"),
    (r"mxfp8", "mxfp8"),
    (r"mxfp4", "mxfp4"),
    (r"fp8|f8", "fp8"),
    (r"awq", "w4a16-asym"),
    (r"w8a8", "w8a8"),
    (r"w4a16|(gptq.*|\b)int4|4bit-gptq", "w4a16"),
    (r"w8a16|gptq.*int8", "w8a16"),
)
METHODS = ("gguf", "awq", "gptq", "compressed-tensors", "modelopt", "bitsandbytes", "mlx", "fp8", "mxfp4")


def _from_hub(model: str, found: HubModel) -> Sibling:
    """Return what name and tags of a model of the hub say of it."""
    last, tags = found.name.split("/")[1].lower(), {tag.lower() for tag in found.tags}
    method = next((m for m in METHODS if m in tags or m in last), "")
    precision = next((form for pattern, form in PRECISIONS if re.search(pattern, last)), "")
    return Sibling(
        model=model,
        sibling=found.name,
        precision="" if method in {"gguf", "mlx", "bitsandbytes"} else precision,
        method=method,
        bytes=found.n_bytes,
        source=f"huggingface.co, filter base_model:quantized:{model}",
        date="now",
    )
