"""``workbench jobs``: list, cancel and resume measurements."""

import json
from typing import Annotated

import typer

from workbench.interface.command import AsJson
from workbench.interface.follow import follow
from workbench.interface.readable import ReadableErrors, err, out
from workbench.jobs.manager import JobManager

JobId = Annotated[str, typer.Argument(help="Id of the job, as `jobs list` prints it.")]
app = typer.Typer(help="Measurements that run or ran.", no_args_is_help=True)


@app.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """List measurements that run or ran, newest first."""
    views = JobManager().views()
    if as_json:
        keys = ("id", "kind", "state", "created_at", "step", "done_fraction", "elapsed_s", "cause", "remedy")
        print(json.dumps([{k: getattr(v, k) for k in keys} for v in views], indent=1))
        return
    for view in views:
        words = (view.id, view.created_at, view.state, f"{view.done_fraction:.0%}", view.step, view.cause)
        out.print("  ".join(words), soft_wrap=True)


@app.command()
def cancel(job_id: JobId) -> None:
    """End a job and free what it holds."""
    with ReadableErrors():
        JobManager().cancel(job_id)


@app.command()
def resume(job_id: JobId) -> None:
    """Go on with a cancelled, failed or interrupted job."""
    with ReadableErrors():
        manager = JobManager()
        manager.resume(job_id)
        view = follow(manager, job_id, err)
    out.print(f"{view.state} {view.cause} {view.remedy}".strip(), soft_wrap=True)
