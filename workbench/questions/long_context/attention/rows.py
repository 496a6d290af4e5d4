"""What runs of attention hold: one row for each technique, phase and length, measured or with the reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from workbench.attention.rows import Ceilings, Cell, CellSeconds, MissingCell
from workbench.catalog.attention_techniques import TECHNIQUES
from workbench.core.language import gettext
from workbench.core.rows import Samples
from workbench.core.runs import Run

AnyCell: TypeAlias = Cell | MissingCell
CEILINGS = {"prefill": gettext("matrix rate"), "decode": gettext("copy bandwidth")}
"""What bounds each phase; a cell holds its share of it as ``ceiling_fraction``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSamples(Samples):
    """Raw samples of a run of attention."""

    calls: tuple[CellSeconds, ...] = ()
    """Time of each call, by cell."""


ROWS = (Ceilings, Cell, MissingCell)
SAMPLES = AttentionSamples


def same_place(runs: Sequence[Run], run: Run) -> list[Run]:
    """Return the runs of the same model on the same device, newest first."""
    return [r for r in runs if (r.model, r.environment.device) == (run.model, run.environment.device)]


def latest_cells(runs: Sequence[Run]) -> list[AnyCell]:
    """Return the cells of runs on one device, newest run first: the newest of each technique, phase and length."""
    cells: dict[tuple[str, str, int], AnyCell] = {}
    for row in (row for run in runs for row in run.results):
        if isinstance(row, Cell | MissingCell):
            cells.setdefault((row.technique, row.phase, row.length_tokens), row)
    return sorted(cells.values(), key=lambda r: (r.phase, r.length_tokens))


def measured_cells(cells: Sequence[AnyCell]) -> list[Cell]:
    """Return the cells that were measured, without those that did not fit or are not available."""
    return [r for r in cells if isinstance(r, Cell)]


def measured_at(cells: Sequence[AnyCell], *, phase: str, length_tokens: int) -> list[Cell]:
    """Return the measured cells of a phase and length, fastest first."""
    return sorted((r for r in measured_cells(cells) if r.is_at(phase, length_tokens)), key=lambda r: r.p50_s.value)


def measured_lengths(cells: Sequence[AnyCell], *, phase: str) -> list[int]:
    """Return the lengths at which something was measured in a phase."""
    return sorted({r.length_tokens for r in measured_cells(cells) if r.phase == phase})


def is_exact(cell: AnyCell) -> bool:
    """Return whether every key is seen, so that only rounding changes the answer."""
    return TECHNIQUES[cell.technique].pattern == "full"
