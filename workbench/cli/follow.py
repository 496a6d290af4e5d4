"""Runs a measurement as a job and shows its progress until it ends; Ctrl-C cancels it."""

import time
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from workbench.cli.readable import err
from workbench.core.runs import Run
from workbench.jobs.directory import JobState, JobView
from workbench.jobs.manager import JobManager


def follow(manager: JobManager, job_id: str, console: Console) -> JobView:
    """The job's final view."""
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("starting", total=1.0)
            while not (view := manager.view(job_id)).state.is_final:
                bar.update(task, completed=view.done_fraction, description=view.step or "starting")
                time.sleep(0.25)
    except KeyboardInterrupt:
        manager.cancel(job_id)
        view = manager.view(job_id)
    return view


def measured(kind: str, spec: Mapping[str, Any], *, can_resume: bool) -> Run:
    """The stored run of a new job; when it does not come to one, says why and ends with status 1."""
    manager = JobManager()
    job_id = manager.submit(kind, spec)
    view = follow(manager, job_id, err)
    if view.state is not JobState.DONE:
        err.print(f"[bold]{view.state}[/bold] {view.cause} {view.remedy}", highlight=False)
        if can_resume:
            err.print(f"Go on with: workbench jobs resume {job_id}", highlight=False)
        raise typer.Exit(1)
    return manager.store.get(job_id)
