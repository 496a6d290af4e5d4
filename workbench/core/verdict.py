"""The answer to a question, as data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from workbench.core.language import gettext
from workbench.core.provenance import Provenance

Answer: TypeAlias = Literal["yes", "no", "open"]
"""yes: there is something to choose, or all is well; no: there is nothing to choose, or something is wrong; open: the rows do not decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence that answers, what it stands on, and what speaks against it."""

    headline: str
    evidence: str
    objection: str | None = None
    """What speaks against trusting the headline or acting on it; None where the rows hold nothing of the kind."""
    scope: str | None = None
    """What the answer is about, and how it was obtained, where that speaks neither for nor against it."""
    answer: Answer = "yes"
    best: str | None = None
    """What the verdict recommends, by its name in the run."""
    provenance: Provenance = Provenance.MEASURED
    """How the numbers of the evidence were obtained."""

    @property
    def lines(self) -> list[str]:
        """Return the verdict as lines of text, the headline first."""
        against = [gettext("Against it: {text}").format(text=self.objection)] if self.objection else []
        scope = [gettext("Scope: {text}").format(text=self.scope)] if self.scope else []
        return [self.headline, f"{self.provenance.mark} {self.evidence}", *against, *scope]


def sentence(points: Iterable[str]) -> str:
    """Return points as one sentence; a name such as vLLM keeps its letters."""
    text = gettext("; ").join(points)
    first = text.split(" ", 1)[0]
    return gettext("{text}.").format(text=text[:1].upper() + text[1:] if first.islower() else text)


def objections(points: Iterable[str], *, most: int = 3) -> str | None:
    """Return the strongest objections as one sentence; None without any."""
    kept = list(points)[:most]
    return sentence(kept) if kept else None
