"""Shows a job's progress until it ends; Ctrl-C cancels it."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from workbench.jobs.directory import JobView
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
