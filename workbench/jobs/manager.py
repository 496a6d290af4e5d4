"""Starts, watches, cancels and resumes jobs; all state lies on disk, so any process can do any of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
import psutil

from workbench.core.errors import StoreError
from workbench.core.progress import SCRATCH
from workbench.core.runs import utc_now
from workbench.jobs.directory import JobDirectory, JobState, JobView
from workbench.store.runs import RunStore

TERMINATE_GRACE_S = 0.5


def workbench_home() -> Path:
    """Where runs and jobs are kept: ``$WORKBENCH_HOME`` or the user's data folder."""
    return Path(os.environ.get("WORKBENCH_HOME") or platformdirs.user_data_dir("inference-workbench"))


class JobManager:
    """The jobs and the run store under one folder."""

    def __init__(self, home: Path | None = None, *, child: tuple[str, ...] = ("-m", "workbench.jobs.child")) -> None:
        self.home = home or workbench_home()
        self.store = RunStore(self.home / "runs.sqlite")
        self._child = child
        self._jobs = self.home / "jobs"

    def submit(self, kind: str, spec: Mapping[str, Any]) -> str:
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
            )
        directory.write_pid(process.pid)

    def directory(self, job_id: str) -> JobDirectory:
        """The folder of a job; raises ``StoreError`` when there is none."""
        path = self._jobs / job_id
        if not (path / "spec.json").exists():
            raise StoreError(f"There is no job {job_id}.", remedy="`workbench jobs list` shows what there is.")
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
        """All jobs, newest first."""
        if not self._jobs.is_dir():
            return []
        folders = [p for p in self._jobs.iterdir() if (p / "spec.json").exists()]
        views = [self.view(p.name) for p in sorted(folders, key=lambda p: p.stat().st_ctime, reverse=True)]
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
                    _kill(survivor)
                psutil.wait_procs(alive, timeout=1.0)
        shutil.rmtree(directory.path / SCRATCH, ignore_errors=True)
        directory.finish(JobState.CANCELLED)

    def resume(self, job_id: str) -> None:
        """Start a cancelled, failed or interrupted job again; finished parts are not measured twice."""
        view = self.view(job_id)
        if view.state in {JobState.CANCELLED, JobState.FAILED, JobState.INTERRUPTED}:
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

    def forget(self, job_id: str) -> None:
        """Delete a final job's folder; its stored run stays."""
        if self.view(job_id).state.is_final:
            shutil.rmtree(self.directory(job_id).path)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
