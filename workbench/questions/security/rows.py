"""What a redaction run holds: a score for each detector and class, and what detectors cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorScore(Row):
    """Precision and recall of one detector for one class of personal data or secrets."""

    detector: str
    kind: str
    """Class that is looked for: CARD, EMAIL, PHONE, ID, IBAN, SECRET or PRIVATE KEY."""
    n_texts: int
    """Texts that hold something of this class."""
    recall: Interval | None
    """Share of these texts in which all of it is found, with a 95 % interval (Wilson 1927); None: there are no such texts."""
    precision: Interval | None
    """Share of the findings that touch something of this class, with a 95 % interval; None: nothing was found."""
    n_false_positives: int
    """Findings of this class where there is nothing of it."""

    @property
    def weakest(self) -> float:
        """Smaller one of recall and precision; 0 where one of them is not known."""
        return min(share.value if share else 0.0 for share in (self.recall, self.precision))


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionSamples(Samples):
    """What was measured of whole detectors, and examples of their mistakes."""

    n_texts: int
    """Generated texts, half of which hold something to find."""
    n_streams: int
    """Streams that the workbench's detector redacted: every text, cut into pieces in several ways."""
    n_streams_different: int
    """Streams whose redacted text differs from that of the whole text."""
    time_per_1000_characters_s: Mapping[str, float]
    """Time that a detector takes for 1,000 characters, by detector."""
    hostile_s: Mapping[str, float]
    """Time that the workbench's detector takes for a hostile text of 1 MB, by what the text is made of."""
    mistakes: Mapping[str, Sequence[str]]
    """Examples of texts that were missed, or found wrongly, by detector."""


ROWS = (DetectorScore,)
SAMPLES = RedactionSamples


def by_detector(scores: Sequence[DetectorScore]) -> dict[str, list[DetectorScore]]:
    """Return the scores of each detector, in the order of the run."""
    return {name: [s for s in scores if s.detector == name] for name in dict.fromkeys(s.detector for s in scores)}
