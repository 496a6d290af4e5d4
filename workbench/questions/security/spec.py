"""Spec of a redaction run: a labelled corpus from a seed, and the detectors that are scored on it."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext, gettext_noop
from workbench.core.specs import Spec

OWN = "workbench"
"""Name of the workbench's detector, which the gateway uses."""
DETECTORS: dict[str, str] = {
    OWN: "the workbench",
    "faq": "the FAQ's three patterns",
    "presidio": "Presidio (blank English model)",
}
LAST_TUNING_SEED = 999
INSTALL_PRESIDIO = gettext_noop("pip install presidio-analyzer (374 MB) to score Presidio as well.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionSpec(Spec):
    """Measurement of precision, recall and cost of detectors on generated texts."""

    kind: ClassVar[str] = "redaction"
    command: ClassVar[str] = "redact --score"

    seed: int = knob(
        1001,
        "Random seed",
        f"Seed of the generated texts; the detector was tuned on seeds 1 to {LAST_TUNING_SEED}, so choose a larger one.",
        low=1,
        high=10**9,
    )
    n_per_kind: int = knob(
        200,
        "Texts per class",
        "Number of texts that hold something to find in each class; as many look-alikes are added.",
        low=10,
        high=5000,
        option="texts",
    )
    detectors: tuple[str, ...] = knob(
        (OWN, "faq"),
        "Detectors",
        "Detectors that are scored on the texts; one that is not installed is skipped, with the reason.",
        choices=DETECTORS,
    )
    n_splits: int = knob(
        5,
        "Streams per text",
        "Number of random ways in which each text is cut into a stream, whose redaction must match that of the whole text.",
        low=1,
        high=1000,
        is_advanced=True,
    )

    def __post_init__(self) -> None:
        require_positive(self, "n_per_kind", "n_splits")
        if not self.detectors or (unknown := set(self.detectors) - set(DETECTORS)):
            raise InvalidSpec(
                gettext("Unknown detector: {names}.").format(names=", ".join(sorted(unknown)))
                if self.detectors
                else gettext("No detector was chosen."),
                remedy=gettext("Choose from: {names}.").format(names=", ".join(DETECTORS)),
            )
