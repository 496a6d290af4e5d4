"""What to measure so that predictions fit a device."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.calibrate.gemm.spec import GemmSpec
from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.formats import MAKEABLE
from workbench.core.checks import require_each, require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, advanced, needed
from workbench.core.language import gettext
from workbench.core.specs import Spec

PARTS = {"gemm": "products", "serving_speed": "whole steps", "all_reduce": "links between GPUs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpec(Spec):
    """A short look at a device: products by shape and format, a few whole steps, and all-reduces between devices."""

    kind: ClassVar[str] = "calibration"
    command: ClassVar[str] = "calibrate"

    model: str = needed(
        "Model",
        "Folder of the model configuration to measure with; its weights are random.",
        suggestions=("data/models/llama-3.1-8b-shape",),
        is_argument=True,
    )
    parts: tuple[str, ...] = advanced(
        tuple(PARTS), "Parts", "Parts to measure; a device is fitted to the newest run of each part.", choices=PARTS
    )
    formats: tuple[str, ...] = advanced(
        ("bf16", "fp8", "w8a8", "w4a16"), "Number formats", "Number formats of the products; BF16 must be among them."
    )
    product_batches: tuple[int, ...] = advanced(
        (1, 16, 64, 256, 1024, 4096), "Tokens per product", "Numbers of tokens that a product works on together."
    )
    rounds: int = advanced(5, "Rounds", "Number of times that each product and each all-reduce is timed.", low=1)
    batches: tuple[int, ...] = advanced(
        (1, 16, 64, 256), "Decode batch sizes", "Numbers of sequences that are decoded together."
    )
    contexts: tuple[int, ...] = advanced(
        (128, 1024, 8192), "Context lengths", "Numbers of prompt tokens of each sequence."
    )
    most_tokens: int = advanced(
        140_000,
        "Largest number of tokens",
        "Cells whose prompts together have more tokens than this are left out.",
        low=1,
    )
    decode_steps: int = advanced(16, "Decode steps", "Number of decode steps that are timed in each cell.", low=1)
    all_reduce_bytes: tuple[int, ...] = advanced(
        tuple(2 * 4096 * 4**n for n in range(8)),
        "All-reduce sizes",
        "Sizes of the all-reduces between several GPUs, in bytes.",
    )
    memory_fraction: float = advanced(
        0.9, "Memory share for vLLM", "Share of the device's memory that vLLM may take, from 0 to 1.", low=0.05, high=1
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "rounds", "most_tokens", "decode_steps", "memory_fraction")
        require_known(gettext("parts"), self.parts, PARTS)
        require_known(gettext("formats"), self.formats, MAKEABLE)
        if "bf16" not in self.formats:
            raise InvalidSpec(
                gettext("Formats {formats}.").format(formats=repr(self.formats)),
                remedy=gettext("Name bf16 and any of: {names}.").format(names=", ".join(MAKEABLE)),
            )
        require_each(self, "all_reduce_bytes", least=2)

    @property
    def gemm(self) -> GemmSpec:
        """Return the products to measure."""
        return GemmSpec(
            model=self.model, formats=self.formats, batches=self.product_batches, rounds=self.rounds, seed=self.seed
        )

    @property
    def steps(self) -> ServingSpeedSpec:
        """Return the whole steps to measure, in BF16."""
        same = ("model", "batches", "contexts", "most_tokens", "decode_steps", "memory_fraction", "seed")
        return ServingSpeedSpec(served=("bf16",), **{name: getattr(self, name) for name in same})
