"""What can be asked about images with captions: ways to fuse both, missing modalities, routing and precision."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_fraction, require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, advanced, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.vision.fusions import FUSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSpec(Spec):
    """Accuracy with a missing or corrupted modality, routing past the image, and precision of each tower, of small trained networks."""

    kind: ClassVar[str] = "fusion"
    command: ClassVar[str] = "fusion"

    routed: str = knob(
        "mid",
        "Fusion to route and quantize",
        "Fusion whose image is skipped where the caption is confident enough, and whose towers are quantized.",
        choices=FUSIONS,
    )
    most_lost: float = knob(
        0.02,
        "Accuracy that routing may lose",
        "Largest share of answers that skipping the image may lose, from 0 to 1.",
        high=0.5,
        option="lost",
    )
    retrain: bool = knob(
        False, "Retrain", "Train the networks (one minute) instead of reading those that ship with the workbench."
    )
    fusions: tuple[str, ...] = advanced(tuple(FUSIONS), "Fusions", "Fusions that are compared.", choices=FUSIONS)
    missing: tuple[float, ...] = advanced(
        (0.0, 0.25, 0.5, 0.75, 1.0), "Shares of missing images", "Shares of the inputs that have no image, from 0 to 1."
    )
    captions_each: int = advanced(
        3, "Captions per image", "Number of captions that are drawn for each test image.", low=1
    )
    level: float = advanced(
        0.95, "Confidence of the guarantee", "Probability that routing loses no more than that share, from 0 to 1."
    )
    rounds: int = advanced(
        15, "Timing rounds", "Number of interleaved rounds, in each of which every variant is timed once.", low=5
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "captions_each", "rounds")
        require_fraction(self, "most_lost", "level")
        require_known(gettext("fusions"), (*self.fusions, self.routed), FUSIONS)
        if self.routed not in self.fusions:
            raise InvalidSpec(
                gettext("{routed} is routed, but not among the fusions.").format(routed=self.routed),
                remedy=gettext("Name it in both."),
            )
        if any(not 0 <= share <= 1 for share in self.missing) or not {0.0, 0.5} <= set(self.missing):
            raise InvalidSpec(
                gettext("Shares of missing images lie between 0 and 1, with 0 and 0.5 among them."),
                remedy=gettext("Give such shares."),
            )
