"""The command that measures compressions for a small device, and exports the best one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from workbench.core.runs import Run
from workbench.core.units import MIB, shown_duration
from workbench.interface.command import AsJson, summary
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out
from workbench.jobs.manager import JobManager
from workbench.questions.edge.findings import (
    TEACHER_LABELS,
    accuracy_words,
    flip_words,
    gain_words,
    gate_words,
    ratio_words,
    setting_words,
)
from workbench.questions.edge.findings.lengths import lengths_rows, lengths_words
from workbench.questions.edge.rows import Choice, Distillation, Guarantee, LengthsResult, VariantResult, batches_of
from workbench.questions.edge.spec import EdgeSpec


@asks_for(EdgeSpec)
def edge(
    spec: EdgeSpec,
    *,
    export: Annotated[
        Path | None, typer.Option(help="Folder that receives the best graph, its settings and a script that checks it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy, size, time, memory and energy of a model's compressions, and choose the setting with the highest throughput within limits."""
    run = measured(spec.kind, spec.to_dict(), can_resume=False)
    if export is not None:
        from workbench.questions.edge.measure.export import export_chosen

        export_chosen(run, JobManager().directory(run.id).path, export.expanduser())
    if as_json:
        print(json.dumps(summary(run), indent=1, ensure_ascii=False))
        return
    for batch in batches_of(run):
        out.print(_variants(run, batch))
    if rows := run.rows(LengthsResult):
        out.print(_paddings(rows))
    for line in _rest(run):
        out.print(line, highlight=False)
    if export is not None:
        out.print(f"Exported to {export}: python {export}/check.py", highlight=False)


def _variants(run: Run, batch: int) -> Table:
    columns = ("technique", "accuracy, %", "flips", "size, kB", "p50", "p99", "speed-up", "verdict")
    table = Table(*columns, title=f"Batch size {batch}")
    for v in run.rows(VariantResult):
        times = v.times[batch]
        table.add_row(
            v.technique,
            accuracy_words(v),
            flip_words(v),
            f"{v.n_bytes / 1e3:,.0f}",
            shown_duration(times.p50_s),
            shown_duration(times.p99_s),
            ratio_words(times.speedup),
            gate_words(v, batch),
        )
    return table


def _paddings(rows: Sequence[LengthsResult]) -> Table:
    columns = ("padding", "batch", "tokens", "time/input", "speed-up", "verdict", "memory", "median batch")
    table = Table(*columns, title="Variable lengths")
    for row, cells in zip(rows, lengths_rows(rows), strict=True):
        table.add_row(row.padding, *cells[1:8])
    return table


def _rest(run: Run) -> list[str]:
    lines = [f"{v.technique}: {v.note}." for v in run.rows(VariantResult) if v.note]
    lines += [
        f"{g.technique}: the guaranteed accuracy loss is at most {100 * g.threshold.limit_fraction:.1f} %; on held-out data it is "
        f"{100 * g.held_out.lost_fraction:.2f} %, and {100 * g.held_out.exit_fraction:.1f} % of the inputs exit early."
        for g in run.rows(Guarantee)
    ]
    lines += [
        f"Distillation with {d.labels_per_class} labels per class and a teacher trained on {TEACHER_LABELS[d.teacher]} gains "
        f"{gain_words(d)} points of accuracy."
        for d in run.rows(Distillation)
    ]
    if rows := run.rows(LengthsResult):
        lines += lengths_words(rows)
    if choice := run.row(Choice):
        lines.append(
            f"The fastest setting within the limits is {setting_words(choice)}, and {choice.peak_bytes / MIB:.1f} MiB of memory."
        )
    return lines + [f"{f.cause} {f.remedy}" for f in run.failures]


COMMANDS = (edge,)
