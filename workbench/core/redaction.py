"""Which texts to redact, and by what: a labelled corpus from a seed."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

DETECTORS: dict[str, str] = {
    "ours": "ours",
    "faq": "the FAQ's three patterns",
    "presidio": "Presidio (blank English model)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionSpec(Spec):
    """Precision and recall by class on generated texts, and what detectors cost."""

    experiment: ClassVar[str] = "redaction"

    seed: int = 1001
    """1 to 999 were used for tuning."""
    n_per_kind: int = 200
    """Texts with something to find, and as many that only look like it, of each class."""
    detectors: tuple[str, ...] = ("ours", "faq")
    """Those that are not installed are left out, with the reason."""
    n_splits: int = 5
    """Ways in which each text is cut into the pieces of a stream."""

    def __post_init__(self) -> None:
        require_positive(self, "n_per_kind", "n_splits")
        if not self.detectors or (unknown := set(self.detectors) - set(DETECTORS)):
            raise InvalidSpec(
                f"There is no detector {', '.join(sorted(unknown)) if self.detectors else ''}.",
                remedy=f"Choose from: {', '.join(DETECTORS)}.",
            )
