"""The answer to a question, as data."""

from collections.abc import Iterable
from dataclasses import dataclass

from workbench.core.provenance import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence that answers, what it stands on, and what speaks against it."""

    headline: str
    evidence: str
    objection: str
    best: str | None = None
    """What the verdict recommends, by its name in the run."""
    provenance: Provenance = Provenance.MEASURED
    """How the numbers of the evidence were obtained."""


def sentence(points: Iterable[str]) -> str:
    """Return points as one sentence."""
    text = "; ".join(points)
    return text[:1].upper() + text[1:] + "."
