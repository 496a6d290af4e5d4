"""A picture and a caption of the same thing: which ways of putting them together to compare."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_fraction, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

MODALITIES = ("image", "text")
FUSIONS: dict[str, str] = {
    "early": "early: one sequence of all features",
    "mid": "mid: each attends to the other",
    "late": "late: weighed logits",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSpec(Spec):
    """Accuracy with a modality missing or worn, routing past the picture, and precision of each tower, of the networks that ship."""

    experiment: ClassVar[str] = "fusion"

    fusions: tuple[str, ...] = tuple(FUSIONS)
    missing: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Shares of inputs without their picture."""
    captions_each: int = 3
    """Captions that are drawn for each test picture."""
    routed: str = "mid"
    """Fusion whose picture is skipped where the caption decides, and whose towers are quantized."""
    most_lost: float = 0.02
    """Accuracy that skipping may lose."""
    level: float = 0.95
    rounds: int = 15
    retrain: bool = False
    """Train the networks anew (about a minute) instead of reading those that ship."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "captions_each", "rounds")
        require_fraction(self, "most_lost", "level")
        if unknown := {*self.fusions, self.routed} - set(FUSIONS):
            raise InvalidSpec(
                f"There is no fusion {', '.join(sorted(unknown))}.", remedy=f"Choose from: {', '.join(FUSIONS)}."
            )
        if self.routed not in self.fusions:
            raise InvalidSpec(f"{self.routed} is routed, but not among the fusions.", remedy="Name it in both.")
        if any(not 0 <= share <= 1 for share in self.missing) or not {0.0, 0.5} <= set(self.missing):
            raise InvalidSpec(
                "Shares of missing pictures lie between 0 and 1, with 0 and 0.5 among them.", remedy="Give such shares."
            )
