"""What to measure so that predictions fit a device."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checkpoints import FORMATS
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.serving_speed import GemmSpec, ServingSpeedSpec
from workbench.core.specs import Spec

PARTS = ("gemm", "serving_speed", "all_reduce")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpec(Spec):
    """A short look at a device: products by shape and format, a few whole steps, and all-reduces between devices."""

    experiment: ClassVar[str] = "calibration"

    model: str
    """Folder of a shape; weights are made up."""
    parts: tuple[str, ...] = PARTS
    """Of these; a device is fitted to the newest run of each."""
    formats: tuple[str, ...] = ("bf16", "fp8", "w8a8", "w4a16")
    product_batches: tuple[int, ...] = (1, 16, 64, 256, 1024, 4096)
    rounds: int = 5
    batches: tuple[int, ...] = (1, 16, 64, 256)
    contexts: tuple[int, ...] = (128, 1024, 8192)
    most_tokens: int = 140_000
    """Cells whose prompts have more tokens together are left out."""
    decode_steps: int = 16
    all_reduce_bytes: tuple[int, ...] = tuple(2 * 4096 * 4**n for n in range(8))
    """Where there are several GPUs."""
    memory_fraction: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "rounds", "most_tokens", "decode_steps", "memory_fraction")
        if not self.parts or any(p not in PARTS for p in self.parts):
            raise InvalidSpec(f"Parts {self.parts!r}.", remedy=f"Name any of: {', '.join(PARTS)}.")
        unknown = [f for f in self.formats if f not in FORMATS]
        if unknown or "bf16" not in self.formats:
            raise InvalidSpec(
                f"Formats {self.formats!r}.", remedy=f"Name bf16 and any of: {', '.join(f for f in FORMATS)}."
            )
        if not self.all_reduce_bytes or any(n < 2 for n in self.all_reduce_bytes):
            raise InvalidSpec(f"Sizes {self.all_reduce_bytes!r}.", remedy="Give bytes from 2 on.")

    @property
    def gemm(self) -> GemmSpec:
        """The products."""
        return GemmSpec(
            model=self.model, formats=self.formats, batches=self.product_batches, rounds=self.rounds, seed=self.seed
        )

    @property
    def steps(self) -> ServingSpeedSpec:
        """The whole steps, in bf16."""
        return ServingSpeedSpec(
            model=self.model,
            served=("bf16",),
            batches=self.batches,
            contexts=self.contexts,
            most_tokens=self.most_tokens,
            decode_steps=self.decode_steps,
            memory_fraction=self.memory_fraction,
            seed=self.seed,
        )
