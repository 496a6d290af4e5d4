"""``workbench runs``: list, show, export and import what was measured."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from workbench.cli.load_tables import loads_table
from workbench.cli.readable import ReadableErrors
from workbench.core.runs import Run
from workbench.experiments.load_import import run_from_peer
from workbench.jobs.child import EXPERIMENTS
from workbench.jobs.manager import JobManager
from workbench.store.runs import read_run_file

app = typer.Typer(help="What was measured.", no_args_is_help=True)


def summary(run: Run) -> dict[str, Any]:
    """The documented JSON form: everything but the raw samples."""
    return {key: value for key, value in asdict(run).items() if key != "samples"}


@app.command("list")
def list_runs(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Stored runs, newest first."""
    store = JobManager().store
    found = sorted((r for kind in EXPERIMENTS for r in store.newest(kind)), key=lambda r: r.finished_at, reverse=True)
    if as_json:
        print(
            json.dumps(
                [
                    {
                        "id": r.id,
                        "kind": r.kind,
                        "model": r.spec["model"],
                        "device": r.environment.device,
                        "finished_at": r.finished_at,
                    }
                    for r in found
                ],
                indent=1,
            )
        )
        return
    for run in found:
        print(f"{run.id}  {run.finished_at}  {run.kind}  {run.spec['model']}  {run.environment.device}")


@app.command()
def show(run_id: str) -> None:
    """One run as JSON, without raw samples."""
    with ReadableErrors():
        print(json.dumps(summary(JobManager().store.get(run_id)), indent=1))


@app.command()
def export(run_id: str, target: Path) -> None:
    """Write a run with its raw samples to a JSON file."""
    with ReadableErrors():
        document = JobManager().store.get(run_id).to_json()
    try:
        target.write_text(document, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(str(error)) from error


@app.command("import")
def import_run(source: Path) -> None:
    """Store a run that another machine exported, or a result of vllm bench serve, guidellm or AIPerf."""
    with ReadableErrors():
        run = run_from_peer(source) or read_run_file(source)
        JobManager().store.add(run)
    print(run.id)


@app.command()
def loads(run_ids: Annotated[list[str] | None, typer.Argument(help="Runs; all loads if left out.")] = None) -> None:
    """Loads beside each other, those of other tools too."""
    with ReadableErrors():
        store = JobManager().store
        found = [store.get(i) for i in run_ids] if run_ids else store.newest("load")
        Console().print(loads_table([r for r in found if r.kind == "load" and r.results]))
