"""Runs a measurement as a job and shows its progress until it ends; Ctrl-C ends it."""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from workbench.core.runs import Run
from workbench.interface.readable import err, show_failure
from workbench.jobs.directory import JobState, JobView
from workbench.jobs.manager import JobManager

NO_RESULT = "it was stopped before there was a result."


def follow(manager: JobManager, job_id: str, console: Console, *, keeps_partial: bool = False) -> JobView:
    """Show the progress of a job until it ends, and return its final view.

    Ctrl-C, SIGTERM and SIGHUP end the job.

    Args:
        manager: Of the job.
        job_id: Of the job.
        console: Where the progress is shown.
        keeps_partial: Whether the measurement keeps what it has when it is stopped.
    """
    percentage, step = TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}")
    columns = (BarColumn(), percentage, TimeElapsedColumn(), TimeRemainingColumn(), step)
    try:
        with _signals_interrupt(), Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("starting", total=1.0)
            while not (view := manager.view(job_id)).state.is_final:
                bar.update(task, completed=view.done_fraction, description=view.step or "starting")
                time.sleep(0.25)
    except KeyboardInterrupt:
        if keeps_partial:
            return manager.stop(job_id)
        manager.cancel(job_id)
        view = manager.view(job_id)
    return view


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP interrupt as Ctrl-C does; elsewhere than in the main thread they stay as they are."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {}
    with suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGHUP):
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def measured(kind: str, spec: Mapping[str, object], *, can_resume: bool, keeps_partial: bool = False) -> Run:
    """The stored run of a new job; when it does not come to one, says why and ends with status 1."""
    manager = JobManager()
    job_id = manager.submit(kind, spec)
    view = follow(manager, job_id, err, keeps_partial=keeps_partial)
    if view.state is not JobState.DONE:
        show_failure(f"{view.state}: {view.cause or NO_RESULT}", view.remedy)
        if can_resume:
            err.print(f"Go on with: workbench jobs resume {job_id}")
        raise typer.Exit(1)
    if view.cause:  # it is done, but not stored where it should be
        show_failure(view.cause, view.remedy)
    return manager.result(job_id)
