"""The cells of attention runs that claims are judged by: the fastest of two groups of techniques, at the lengths of a claim."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from workbench.attention.rows import Cell, MissingCell
from workbench.catalog.ledger import Evidence
from workbench.catalog.tables import Claim
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.questions.long_context.attention.rows import AnyCell, is_exact, measured_cells
from workbench.questions.long_context.attention.spec import PHASES

FLASH = ("flash", "fa3")
WINDOW = ("window-flex", "window")
SPARSE = ("block-sparse-flex", "block-sparse", "vertical-slash-flex")
STANDARD = ("math",)
FROM_TOKENS = {
    "Flash Attention": 32 * 1024,
    "PagedAttention": 64 * 1024,
    "sparse attention": 100_000,
    "sliding window": 0,
    "sequence parallelism": 0,
}
"""Shortest sequence that a claim about a technique is made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The best of a technique and of what it is compared with, of one model on one device, at one length in one phase."""

    own: Cell
    other: Cell
    runs: tuple[Run, ...]

    @property
    def words(self) -> str:
        """What was compared with what."""
        return gettext("{own} against {other}, {phase} of {n} tokens, one layer").format(
            own=self.own.label, other=self.other.label, phase=PHASES[self.own.phase], n=f"{self.own.length_tokens:,}"
        )


def latest_by_place(evidence: Evidence) -> Iterator[list[tuple[Run, AnyCell]]]:
    """Yield the newest cell of each technique, phase and length with its run, for each model and GPU."""
    places: dict[tuple[str | None, str], dict[tuple[str, str, int], tuple[Run, AnyCell]]] = {}
    for run in evidence.of("attention", on_gpu=True):
        cells = places.setdefault((run.model, run.environment.device), {})
        for row in run.results:
            if isinstance(row, Cell | MissingCell):
                cells.setdefault((row.technique, row.phase, row.length_tokens), (run, row))
    yield from (list(cells.values()) for cells in places.values())


def pairs(
    claim: Claim, evidence: Evidence, own: Collection[str], others: Collection[str], *, phases: Collection[str]
) -> list[Pair]:
    """Return the fastest of two groups of techniques at each length that the claim is made for, longest first."""
    least, found = FROM_TOKENS[claim.technique], []
    for cells in latest_by_place(evidence):
        measured = [
            (run, c) for run, c in cells if isinstance(c, Cell) and c.length_tokens >= least and c.phase in phases
        ]
        for place in {(c.phase, c.length_tokens) for _, c in measured}:
            here = sorted((p for p in measured if p[1].is_at(*place)), key=lambda p: p[1].p50_s.value)
            a, b = (next((p for p in here if p[1].technique in group), None) for group in (own, others))
            if a and b:
                runs = (a[0],) if a[0].id == b[0].id else (a[0], b[0])
                found.append(Pair(own=a[1], other=b[1], runs=runs))
    return sorted(found, key=lambda p: p.own.length_tokens, reverse=True)


def exact_techniques(evidence: Evidence) -> set[str]:
    """Return the techniques that see every key, other than written-out attention."""
    return {
        c.technique
        for cells in latest_by_place(evidence)
        for c in measured_cells([c for _, c in cells])
        if is_exact(c) and c.technique not in STANDARD
    }
