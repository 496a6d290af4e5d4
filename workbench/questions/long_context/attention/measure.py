"""Attention techniques over length: time, memory, energy, error, and their share of what this device can do."""

from collections.abc import Iterator, Sequence

from workbench.attention import timing
from workbench.attention.cells import measure_cell
from workbench.attention.reasons import SHORTER_DID_NOT_FIT
from workbench.attention.rows import PHASES, CellSeconds, MissingCell, MissingStatus, Phase, TimedCell
from workbench.attention.timing import HeadShape
from workbench.catalog.attention_techniques import TECHNIQUES
from workbench.catalog.models import model_spec_from
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Row
from workbench.measuring.envelope import Record
from workbench.questions.long_context.attention.rows import AttentionSamples
from workbench.questions.long_context.attention.spec import AttentionSpec
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.energy import energy_meter


def measure(spec: AttentionSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress and fill the record; measured cells are kept, so that a second call goes on from there."""
    model, device = model_spec_from(spec.model), chosen_device(spec.device)
    record.device = device
    shape = HeadShape(model.n_heads, model.n_kv_heads, model.head_dim)
    cells = [(p, n, t) for p in PHASES if p in spec.phases for n in sorted(set(spec.lengths)) for t in spec.techniques]
    yield Progress(step=gettext_noop("measuring the ceilings"), done=0, total=len(cells) + 1)
    ceilings, meter = timing.ceilings(device.kind), energy_meter(device.kind)
    calls: list[CellSeconds] = []
    record.rows = [ceilings]
    for i, (phase, length, technique) in enumerate(cells):
        step = f"{phase} · {length} tokens · {TECHNIQUES[technique].label}"
        yield Progress(step=step, done=i + 1, total=len(cells) + 1)
        name = f"{phase} {length} {technique}"
        outcome = record.kept.read(name, TimedCell) or record.kept.read(name, MissingCell)
        if outcome is None:
            outcome = _too_slow(record.rows, calls, spec, phase, length, technique) or measure_cell(
                technique,
                phase=phase,
                length=length,
                shape=shape,
                options=spec.options,
                ceilings=ceilings,
                rounds=spec.rounds,
                device=device.kind,
                seed=spec.seed,
                energy_j=meter,
            )
            record.kept.write(name, outcome)
        if isinstance(outcome, TimedCell):
            record.rows.append(outcome.cell)
            calls.append(outcome.calls)
        else:
            record.rows.append(outcome)
    record.samples = AttentionSamples(calls=tuple(calls))


def _too_slow(
    rows: Sequence[Row], calls: Sequence[CellSeconds], spec: AttentionSpec, phase: Phase, length: int, technique: str
) -> MissingCell | None:
    """Return the row of a technique that took too long, or ran out of memory, at a smaller length."""
    missing = [r for r in rows if isinstance(r, MissingCell) and (r.technique, r.phase) == (technique, phase)]
    slowest = max((max(c.seconds) for c in calls if (c.technique, c.phase) == (technique, phase)), default=0.0)
    status: MissingStatus
    if any(r.status == "out of memory" for r in missing):
        status, reason = "out of memory", SHORTER_DID_NOT_FIT
    elif slowest > spec.most_call_s:
        status, reason = "left out", f"One call took {slowest:.0f} s at a smaller length."
    else:
        return None
    return MissingCell(technique=technique, phase=phase, length_tokens=length, status=status, reason=reason)
