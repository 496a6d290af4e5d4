"""What can be asked of the products inside a model: their time by format and number of tokens."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.catalog.formats import MAKEABLE
from workbench.catalog.paths import OFFERED_MODELS
from workbench.core.checks import require_each, require_known, require_positive
from workbench.core.knobs import Knob, Seed, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec

ShapeFolder = Annotated[
    str,
    Knob(
        "Model",
        "Folder of a transformers model; its configuration is enough, since the weights are random.",
        suggestions=OFFERED_MODELS[::-1],
        is_argument=True,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmSpec(Spec):
    """Products of a model's linear layers to time."""

    kind: ClassVar[str] = "gemm"
    command: ClassVar[str] = "gemm"

    model: ShapeFolder
    formats: tuple[str, ...] = knob(
        ("bf16", "w8a16", "w8a8", "fp8", "w4a16", "w4a16-asym"),
        "Number formats",
        "Number formats whose kernels are timed.",
        choices={name: f.label for name, f in MAKEABLE.items()},
    )
    batches: tuple[int, ...] = knob(
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096),
        "Tokens per product",
        "Numbers of tokens that a product works on together (rows of its input).",
    )
    rounds: int = knob(15, "Rounds", "Number of rounds in which every product is timed once.", low=1)
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "rounds")
        require_known(gettext("formats"), self.formats, MAKEABLE)
        require_each(self, "batches")
