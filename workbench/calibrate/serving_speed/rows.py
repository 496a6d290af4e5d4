"""What a run of vLLM's steps holds: its measured cells, and how they compare with the device's roofline and each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.formats import MIXED
from workbench.catalog.models import model_spec_from
from workbench.catalog.served import Served
from workbench.core.errors import NotAvailable
from workbench.core.rows import Row, Samples
from workbench.core.runs import Run
from workbench.estimate.ceilings import published_ceilings
from workbench.estimate.linear_layers import products
from workbench.estimate.roofline import prefill_floor_s, step_floor_s
from workbench.estimate.rows import CellTooLarge, Roofline, StepCell, StepTime

TIE = 1.02  # medians closer than this are called equal


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSamples:
    """Timings of the decode steps of a cell."""

    batch: int
    context_tokens: int
    step_s: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSpeedSamples(Samples):
    """Raw samples of a run of vLLM's steps."""

    cells: Mapping[str, Sequence[CellSamples]] = field(default_factory=dict)
    """Timed cells of each precision."""


ROWS = (StepTime, CellTooLarge)
SAMPLES = ServingSpeedSamples


def cells_of(rows: Iterable[Row]) -> dict[tuple[str, int, int], StepTime]:
    """Return the measured cells by precision, batch and context."""
    return {(r.served, r.batch, r.context_tokens): r for r in rows if isinstance(r, StepTime)}


def plan_of(spec: ServingSpeedSpec, served: Served) -> dict[str, str]:
    """Return the format of each role, or of each layer group."""
    if served.format == MIXED:
        return dict(spec.plan or {})
    return dict.fromkeys(products(model_spec_from(spec.model)), served.format or "bf16")


def with_roofline(run: Run) -> list[StepCell]:
    """Return the cells of a run with the least times that the device's published peaks allow, where the catalogue has it."""
    spec, rows = run.asked(ServingSpeedSpec), run.rows(StepCell)
    try:
        ceilings = published_ceilings(run.environment.device_id)
    except NotAvailable:
        return rows
    model = model_spec_from(spec.model)
    plans = {name: plan_of(spec, Served.read(name)) for name in {row.served for row in rows}}

    def beside_floors(row: StepCell) -> StepCell:
        served, plan = Served.read(row.served), plans[row.served]
        if not isinstance(row, StepTime) or served.folder is not None or any("." in group for group in plan):
            return row
        batch, context, kv_bits = row.batch, row.context_tokens, 8 if served.kv_cache_dtype == "fp8" else 16
        step = step_floor_s(model, plan, batch=batch, context_tokens=context, ceilings=ceilings, kv_bits=kv_bits)
        prefill = prefill_floor_s(model, plan, batch=batch, context_tokens=context, ceilings=ceilings)
        roofline = Roofline(
            step_floor_s=step,
            step_fraction=step / row.tpot_p50_s.value,
            prefill_floor_s=prefill,
            prefill_fraction=prefill / row.prefill_s,
        )
        return replace(row, roofline=roofline)

    return [beside_floors(row) for row in rows]


def crossover_batch(run: Run, served: str, other: str, *, context_tokens: int) -> int | None:
    """Return the least measured batch from which ``served`` is no more than 2 % faster per output token than ``other``."""
    times = {(s, b): r.tpot_p50_s.value for (s, b, c), r in cells_of(run.results).items() if c == context_tokens}
    batches = sorted(b for name, b in times if name == served and (other, b) in times)
    slower = [b for b in batches if times[served, b] * TIE >= times[other, b]]
    return next((b for b in slower if all(c in slower for c in batches if c >= b)), None)
