"""``workbench jobs``: list, cancel and resume measurements."""

import json
from typing import Annotated

import typer
from rich.console import Console

from workbench.cli.follow import follow
from workbench.cli.readable import ReadableErrors
from workbench.jobs.manager import JobManager

app = typer.Typer(help="Measurements that run or ran.", no_args_is_help=True)


@app.command("list")
def list_jobs(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """All jobs, newest first."""
    views = JobManager().views()
    if as_json:
        keys = ("id", "kind", "state", "created_at", "step", "done_fraction", "elapsed_s", "cause", "remedy")
        print(json.dumps([{k: getattr(v, k) for k in keys} for v in views], indent=1))
        return
    for view in views:
        print(f"{view.id}  {view.created_at}  {view.state}  {view.done_fraction:.0%}  {view.step}  {view.cause}")


@app.command()
def cancel(job_id: str) -> None:
    """End a job and free what it holds."""
    with ReadableErrors():
        JobManager().cancel(job_id)


@app.command()
def resume(job_id: str) -> None:
    """Go on with a cancelled, failed or interrupted job."""
    with ReadableErrors():
        manager = JobManager()
        manager.resume(job_id)
        view = follow(manager, job_id, Console(stderr=True))
    print(f"{view.state} {view.cause} {view.remedy}".strip())
