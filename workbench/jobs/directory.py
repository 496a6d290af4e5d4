"""A job on disk: everything that must survive its process, its notebook and a full disk."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from workbench.core.errors import StoreError
from workbench.core.progress import Progress

RESERVE_BYTES = 64 * 1024  # given back to the file system when a result has to be written on a full disk
CANCEL_TAKES_S = 5.0  # more than a cancel needs to end the processes and to tidy up
EVENT_INTERVAL_S = 0.25  # Jupyter's channel stays far from its limits at four messages a second


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more, except by a resume."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as it is now."""

    id: str
    kind: str
    spec: Mapping[str, Any]
    state: JobState
    created_at: str
    step: str = ""
    done: float = 0.0
    total: float = 0.0
    elapsed_s: float = 0.0
    cause: str = ""
    remedy: str = ""
    details: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    """Partial result of the last step, where the experiment gives one."""

    @property
    def done_fraction(self) -> float:
        """How much of the work is behind."""
        if self.state is JobState.DONE:
            return 1.0
        return min(self.done / self.total, 1.0) if self.total else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Time left at the pace so far; None until a twentieth is done."""
        if self.state is not JobState.RUNNING or self.done_fraction < 0.05:
            return None
        return self.elapsed_s * (1 / self.done_fraction - 1)


class JobDirectory:
    """Reads and writes the files of one job: spec, pid, events, log and result."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The name of the folder, also the id of the run that comes out."""
        return self.path.name

    @classmethod
    def create(cls, path: Path, *, kind: str, spec: Mapping[str, Any], created_at: str) -> "JobDirectory":
        """A new folder with its spec."""
        try:
            path.mkdir(parents=True)
            (path / "reserve").write_bytes(b"\0" * RESERVE_BYTES)
            directory = cls(path)
            directory._write("spec.json", {"kind": kind, "spec": dict(spec), "created_at": created_at})
        except OSError as error:
            raise StoreError(
                f"The job folder {path} cannot be written: {error}.", remedy="Free disk space or set WORKBENCH_HOME."
            ) from error
        return directory

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        unfinished = self.path / f"{name}.{os.getpid()}.part"
        unfinished.write_text(json.dumps(data), encoding="utf-8")
        os.replace(unfinished, self.path / name)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            data: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return data

    def read_spec(self) -> dict[str, Any]:
        """Kind, spec and time of creation."""
        data = self._read("spec.json")
        if data is None:
            raise StoreError(f"The job {self.id} has no readable spec.", remedy="Delete its folder and run again.")
        return data

    def write_pid(self, pid: int) -> None:
        """Remember the process by its number and start time, so that a later process of that number is not taken for it."""
        self._write("pid", {"pid": pid, "started": psutil.Process(pid).create_time()})

    def process(self) -> psutil.Process | None:
        """The job's process while it lives."""
        data = self._read("pid")
        if data is None:
            return None
        try:
            process = psutil.Process(data["pid"])
            if abs(process.create_time() - data["started"]) > 0.5 or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.Error:
            return None
        return process

    def mark_stopping(self) -> None:
        """Say that a cancel was asked for."""
        (self.path / "stopping").touch()

    def _stopping_s(self) -> float | None:
        """How long ago a cancel was asked for."""
        try:
            return time.time() - (self.path / "stopping").stat().st_mtime
        except FileNotFoundError:
            return None

    def append_event(self, progress: Progress, *, elapsed_s: float) -> None:
        """Add one line to the events."""
        line = {"step": progress.step, "done": progress.done, "total": progress.total, "elapsed_s": round(elapsed_s, 2)}
        if progress.result:
            line["result"] = dict(progress.result)
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def last_event(self) -> dict[str, Any]:
        """The newest complete event."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return {}
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65_536))
            lines = file.read().decode("utf-8", "replace").splitlines()
        for line in reversed(lines):
            try:
                event: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return event
        return {}

    def finish(self, state: JobState, **facts: str) -> bool:
        """Write the final state unless there is one already; True when this call wrote it."""
        (self.path / "reserve").unlink(missing_ok=True)
        unfinished = self.path / f"result.{os.getpid()}.part"
        unfinished.write_text(json.dumps({"state": state, "at": time.time(), **facts}), encoding="utf-8")
        try:
            os.link(unfinished, self.path / "result.json")
        except FileExistsError:
            return False
        finally:
            unfinished.unlink()
        return True

    def reopen(self) -> None:
        """Take the final state back, for a resume."""
        for name in ("result.json", "stopping", "pid"):
            (self.path / name).unlink(missing_ok=True)
        (self.path / "reserve").write_bytes(b"\0" * RESERVE_BYTES)

    def view(self) -> JobView:
        """The job as its files and its process show it."""
        spec = self.read_spec()
        is_alive = self.process() is not None  # looked at first: what ends after this has written its result
        event = self.last_event()
        result = self._read("result.json")
        stopping_s = self._stopping_s()
        facts: dict[str, str] = {}
        if result is not None:
            state = JobState(result["state"])
            facts = {k: result.get(k, "") for k in ("cause", "remedy", "details")}
        elif is_alive:
            running = JobState.RUNNING if event else JobState.STARTING
            state = JobState.STOPPING if stopping_s is not None else running
        elif stopping_s is not None:  # whoever cancels is tidying up, unless it was killed itself
            state = JobState.STOPPING if stopping_s < CANCEL_TAKES_S else JobState.CANCELLED
        elif self._read("pid") is None:
            state = JobState.QUEUED
        else:
            state = JobState.INTERRUPTED
            facts = {
                "cause": "The job's process ended without a result (killed, or the machine restarted).",
                "remedy": "Resume it: finished parts are kept.",
            }
        return JobView(
            id=self.id,
            kind=spec["kind"],
            spec=spec["spec"],
            created_at=spec["created_at"],
            state=state,
            step=event.get("step", ""),
            done=event.get("done", 0.0),
            total=event.get("total", 0.0),
            elapsed_s=event.get("elapsed_s", 0.0),
            result=event.get("result", {}),
            **facts,
        )
