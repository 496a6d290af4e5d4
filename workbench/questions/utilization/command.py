"""Commands that sample this machine and say where the time of its GPUs goes."""

import json
from dataclasses import replace
from typing import Annotated

import typer

from workbench.catalog.paths import MEASURED, workbench_home
from workbench.core.errors import NotAvailable
from workbench.core.rows import plain
from workbench.core.runs import Run
from workbench.core.units import NOT_KNOWN
from workbench.interface.command import AsJson, print_table
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import ReadableErrors, out
from workbench.jobs.manager import JobManager
from workbench.load.recording.rows import recording_of
from workbench.load.recording.spec import RecordingSpec
from workbench.questions.utilization.findings import LOSS_HEAD, energy_rows, loss_rows, utilization
from workbench.store.runs import runs_in_folder
from workbench.telemetry.history import history_folder


@asks_for(RecordingSpec)
def record(spec: RecordingSpec, *, as_json: AsJson = False) -> None:
    """Sample this machine, its GPUs and a server's counters, and keep the samples as a run."""
    if spec.history is not None:
        spec = replace(spec, history=str(history_folder(workbench_home(), spec.history)))
    _show(measured(spec.kind, spec.to_dict(), can_resume=False), as_json=as_json)


def why_idle(
    run_id: Annotated[
        str | None, typer.Argument(help="Id of a recording, or of a load with samples; the newest if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say where the time of each GPU went in a recording: no requests, host, small kernels, memory, clocks."""
    with ReadableErrors():
        store = JobManager().store
        own = [r for kind in ("recording", "load") for r in store.newest(kind)]
        known = [r for r in (*own, *runs_in_folder(MEASURED)) if recording_of(r) and run_id in {None, r.id}]
        if not known:
            which = "" if run_id is None else f" {run_id}"
            raise NotAvailable(f"There is no recording{which}.", remedy="Run `workbench record` first.")
        _show(max(known, key=lambda r: r.finished_at), as_json=as_json)


def _show(run: Run, *, as_json: bool) -> None:
    recording = recording_of(run)
    assert recording is not None
    answer = utilization(run, recording)
    if as_json:
        print(json.dumps(plain(answer), indent=1))
        return
    out.print(f"● {answer.device}, run {run.id}, {answer.span_s:.0f} s")
    for use in answer.gpus:
        print_table((use.gpu, *LOSS_HEAD[1:]), loss_rows(use))
    for name, joules in energy_rows(answer.energy):
        if joules != NOT_KNOWN:
            out.print(f"energy, {name}: {joules} J")
    for name, why in answer.problems.items():
        out.print(f"missing {name}: {why}")


COMMANDS = (record, why_idle)
