"""``workbench runs``: list, show, export and import what was measured."""

import json
from pathlib import Path
from typing import Annotated

import typer

from workbench.app.load_tables import loads_table
from workbench.core.kinds import spec_class
from workbench.interface.command import AsJson, summary
from workbench.interface.readable import ReadableErrors, out
from workbench.jobs.manager import JobManager
from workbench.load.peer_runs import runs_from_peer
from workbench.store.runs import read_run_file

RunId = Annotated[str, typer.Argument(help="Id of the run, as `runs list` prints it.")]
app = typer.Typer(help="What was measured.", no_args_is_help=True)


@app.command("list")
def list_runs(as_json: AsJson = False) -> None:
    """List the stored runs, newest first."""
    runs = JobManager().store.newest()
    if as_json:
        about = [{"id": r.id, "kind": r.kind, "model": r.model, "device": r.environment.device} for r in runs]
        print(json.dumps([a | {"finished_at": r.finished_at} for a, r in zip(about, runs, strict=True)], indent=1))
        return
    for run in runs:
        words = (run.id, run.finished_at, run.kind, run.model or "–", run.environment.device)
        out.print("  ".join(words), soft_wrap=True)


@app.command()
def show(run_id: RunId) -> None:
    """One run as JSON, without raw samples."""
    with ReadableErrors():
        print(json.dumps(summary(JobManager().store.get(run_id)), indent=1))


@app.command()
def export(run_id: RunId, target: Annotated[Path, typer.Argument(help="JSON file that is written.")]) -> None:
    """Write a run with its raw samples to a JSON file."""
    with ReadableErrors():
        document = JobManager().store.get(run_id).to_json()
    try:
        target.write_text(document, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(str(error)) from error


@app.command("import")
def import_run(
    source: Annotated[
        Path, typer.Argument(help="JSON, JSONL or YAML file, or the folder that a load generator wrote.")
    ],
) -> None:
    """Store a run that another machine exported, or the loads in a result file of another load generator.

    Read are guidellm, AIPerf, genai-perf, vllm bench serve, SGLang's bench_serving, llmperf and inference-perf.
    """
    with ReadableErrors():
        runs = runs_from_peer(source)
        if runs is None:
            run = read_run_file(source)
            spec_class(run.kind).from_dict(run.spec)  # an unknown kind and a spec of something else are refused
            runs = (run,)
        store = JobManager().store
        for run in runs:
            store.add(run)
    for run in runs:
        print(run.id)


@app.command()
def loads(run_ids: Annotated[list[str] | None, typer.Argument(help="Runs; all loads if left out.")] = None) -> None:
    """Loads beside each other, those of other tools too."""
    with ReadableErrors():
        store = JobManager().store
        found = [store.get(i) for i in run_ids] if run_ids else store.newest("load")
        out.print(loads_table([r for r in found if r.kind == "load" and r.results]))
