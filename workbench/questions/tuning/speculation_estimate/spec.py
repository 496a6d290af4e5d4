"""What can be asked of an estimate: a model on a device, an acceptance rate, and what drafts cost."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.core.checks import require_each, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import advanced, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import CatalogueDevice, KvBits, Precision, model_knob
from workbench.estimate.precision import STORED, require_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationEstimateSpec(Spec):
    """Drafts for a model on a device of the catalogue."""

    command: ClassVar[str] = "speculation-estimate"
    computed_by: ClassVar[str] = "estimated_speculation"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-8B")]
    device: CatalogueDevice
    acceptance: float = knob(
        0.7,
        "Acceptance rate",
        "Probability that a draft token is accepted, given that all before it were; measure it on your own text.",
        low=0,
        high=1,
        step=0.01,
    )
    draft_tokens: int = knob(
        4, "Draft tokens", "Draft tokens in a step of the shown curve.", unit="tokens", low=1, high=16
    )
    draft_model: str | None = knob(
        None,
        "Draft model",
        "Smaller model that drafts, by name or folder; the draft time below counts if it is left out.",
        suggestions=("Qwen/Qwen3-0.6B",),
    )
    draft_fraction: float = knob(
        0.05,
        "Draft time",
        "Time of one draft token as a share of the model's own step of one sequence; 0 for n-gram lookup.",
        low=0,
        high=1,
    )
    context_tokens: int = knob(
        2048,
        "Context length",
        "Tokens of each sequence in the cache.",
        unit="tokens",
        low=1,
        high=1_000_000,
        option="context",
    )
    batches: tuple[int, ...] = advanced(
        (1, 2, 4, 8, 16, 32, 64, 128, 256), "Batch sizes", "Sequences that are decoded together.", low=1, high=4096
    )
    precision: Precision = STORED
    kv_bits: KvBits = 16

    def __post_init__(self) -> None:
        require_positive(self, "draft_tokens", "context_tokens")
        require_each(self, "batches")
        require_precision(self.precision)
        if not 0 <= self.acceptance <= 1 or not 0 <= self.draft_fraction <= 1:
            raise InvalidSpec(
                gettext("Shares of {first} and {second}.").format(first=self.acceptance, second=self.draft_fraction),
                remedy=gettext("Give shares from 0 to 1."),
            )
        if self.kv_bits not in {8, 16}:
            raise InvalidSpec(
                gettext("The cache has 8 or 16 bits, not {bits}.").format(bits=self.kv_bits),
                remedy=gettext("Give 8 or 16."),
            )
