"""Starts, watches, cancels and resumes jobs; all state lies on disk, so any process can do any of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from workbench.catalog.paths import workbench_home
from workbench.core.errors import StoreError
from workbench.core.language import VARIABLE, gettext
from workbench.core.progress import SCRATCH
from workbench.core.runs import Run, utc_now
from workbench.jobs.directory import JobDirectory, JobState, JobView
from workbench.store.runs import RunStore, read_run_file

TERMINATE_GRACE_S = 0.5
STOP_TAKES_S = 10.0


class JobManager:
    """The jobs and the run store under one folder."""

    def __init__(self, home: Path | None = None, *, child: tuple[str, ...] = ("-m", "workbench.jobs.child")) -> None:
        self.home = home or workbench_home()
        self.store = RunStore(self.home / "runs.sqlite")
        self._child = child
        self._jobs = self.home / "jobs"

    def submit(self, kind: str, spec: Mapping[str, object]) -> str:
        """Start a job in a session of its own and give back its id."""
        job_id = uuid.uuid4().hex[:12]
        directory = JobDirectory.create(self._jobs / job_id, kind=kind, spec=spec, created_at=utc_now())
        self._start(directory)
        return job_id

    def _start(self, directory: JobDirectory) -> None:
        with (directory.path / "stdout.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *self._child, str(directory.path), str(self.store.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=Path.cwd(),
                env={k: v for k, v in os.environ.items() if k != VARIABLE},  # what is stored is English
            )
        directory.write_pid(process.pid)

    def directory(self, job_id: str) -> JobDirectory:
        """The folder of a job; raises ``StoreError`` when there is none."""
        path = self._jobs / job_id
        if not (path / "spec.json").exists():
            raise StoreError(
                gettext("There is no job {id}.").format(id=job_id),
                remedy=gettext("`workbench jobs list` shows what there is."),
            )
        return JobDirectory(path)

    def view(self, job_id: str) -> JobView:
        """The job as it is now. A job that stored its run but died before saying so counts as done."""
        directory = self.directory(job_id)
        view = directory.view()
        if view.state is JobState.INTERRUPTED and self.store.has(job_id):
            directory.finish(JobState.DONE)
            view = directory.view()
        return view

    def views(self, kind: str | None = None) -> list[JobView]:
        """Return all jobs, or those of a kind, newest first."""
        if not self._jobs.is_dir():
            return []
        folders = sorted(self._jobs.iterdir(), key=lambda p: p.stat().st_ctime, reverse=True)
        views = [self.view(p.name) for p in folders if (p / "spec.json").exists()]
        return sorted((v for v in views if kind in {None, v.kind}), key=lambda v: v.created_at, reverse=True)

    def cancel(self, job_id: str) -> None:
        """End a job and everything it started; returns when its processes are gone."""
        directory = self.directory(job_id)
        process = directory.process()
        if process is not None:
            directory.mark_stopping()
            family = [process, *process.children(recursive=True)]
            _signal_group(process.pid, signal.SIGTERM)
            _, alive = psutil.wait_procs(family, timeout=TERMINATE_GRACE_S)
            if alive:
                _signal_group(process.pid, signal.SIGKILL)
                for survivor in alive:
                    with suppress(psutil.NoSuchProcess):
                        survivor.kill()
                psutil.wait_procs(alive, timeout=1.0)
        shutil.rmtree(directory.path / SCRATCH, ignore_errors=True)
        directory.finish(JobState.CANCELLED)

    def stop(self, job_id: str, *, timeout_s: float = STOP_TAKES_S) -> JobView:
        """End a job so that what it has measured is kept, where its measurement can do that; a job that does not end is cancelled."""
        process = self.directory(job_id).process()
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        view = self.wait(job_id, timeout_s=timeout_s)
        if not view.state.is_final or view.state is JobState.INTERRUPTED:
            self.cancel(job_id)
            view = self.view(job_id)
        return view

    def result(self, job_id: str) -> Run:
        """Return the run of a job that is done, from the store or from the file that it was saved to where the store was full."""
        view = self.directory(job_id).view()
        if view.state is JobState.DONE and view.details:
            return read_run_file(Path(view.details))
        return self.store.get(job_id)

    def resume(self, job_id: str) -> None:
        """Start a cancelled, failed or interrupted job again; finished parts are not measured twice."""
        view = self.view(job_id)
        if view.state.can_resume:
            directory = self.directory(job_id)
            directory.reopen()
            self._start(directory)

    def wait(self, job_id: str, *, timeout_s: float) -> JobView:
        """The job once it is final, or as it is when the time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            view = self.view(job_id)
            if view.state.is_final or time.monotonic() > deadline:
                return view
            time.sleep(0.1)

    def log(self, job_id: str) -> str:
        """The end of what the job printed."""
        path = self.directory(job_id).path / "stdout.log"
        return path.read_text(encoding="utf-8", errors="replace")[-8000:] if path.exists() else ""


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
