"""A job on disk: everything that must survive its process, its notebook and a full disk."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil

from workbench.core.errors import StoreError, system_message
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Json, plain

RESERVE_BYTES = 64 * 1024  # given back to the file system when a result has to be written on a full disk
CANCEL_TAKES_S = 5.0  # more than a cancel needs to end the processes and to tidy up
EVENT_INTERVAL_S = 0.25  # Jupyter's channel stays far from its limits at four messages a second

T = TypeVar("T")


class JobState(StrEnum):
    """State of a job; a final state is never overwritten."""

    QUEUED = gettext_noop("queued")
    STARTING = gettext_noop("starting")
    RUNNING = gettext_noop("running")
    STOPPING = gettext_noop("stopping")
    DONE = gettext_noop("done")
    FAILED = gettext_noop("failed")
    CANCELLED = gettext_noop("cancelled")
    INTERRUPTED = gettext_noop("interrupted")

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more, except by a resume."""
        return self is JobState.DONE or self.can_resume

    @property
    def can_resume(self) -> bool:
        """Whether it ended without a run."""
        return self in {JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a job was asked for."""

    kind: str
    spec: Mapping[str, Any]
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a job's events."""

    step: str = ""
    done: float = 0.0
    total: float = 0.0
    elapsed_s: float = 0.0
    result: Any = None
    """What the step handed up as JSON, where the measurement does so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Final state of a job and, where it failed, why."""

    state: JobState
    at: float
    """Seconds since the epoch."""
    cause: str = ""
    remedy: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process by its number and start time, so that a later process of that number is not taken for it."""

    pid: int
    started: float


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
    result: Json = None
    """What the last step handed up, where the measurement does so; ``partial`` reads it."""

    def partial(self, kind: type[T]) -> T | None:
        """Return what the last step handed up, as the dataclass that it is; None where it is nothing of the kind."""
        try:
            return None if self.result is None else msgspec.convert(self.result, kind, str_keys=True)
        except msgspec.ValidationError:
            return None

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
    def create(cls, path: Path, *, kind: str, spec: Mapping[str, object], created_at: str) -> "JobDirectory":
        """A new folder with its spec."""
        try:
            path.mkdir(parents=True)
            (path / "reserve").write_bytes(b"\0" * RESERVE_BYTES)
            directory = cls(path)
            directory._write("spec.json", Asked(kind=kind, spec=spec, created_at=created_at))
        except OSError as error:
            raise StoreError(
                gettext("The job folder {path} cannot be written: {error}.").format(
                    path=path, error=system_message(error)
                ),
                remedy=gettext("Free disk space or set WORKBENCH_HOME."),
            ) from error
        return directory

    def _write(self, name: str, data: object) -> None:
        unfinished = self.path / f"{name}.{os.getpid()}.part"
        unfinished.write_text(json.dumps(plain(data)), encoding="utf-8")
        os.replace(unfinished, self.path / name)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def asked(self) -> Asked:
        """Return kind, spec and time of creation; raises ``StoreError`` where they cannot be read."""
        data = self._read("spec.json", Asked)
        if data is None:
            raise StoreError(
                gettext("The job {id} has no readable spec.").format(id=self.id),
                remedy=gettext("Delete its folder and run again."),
            )
        return data

    def write_pid(self, pid: int) -> None:
        """Remember the process that carries the job out."""
        self._write("pid", ProcessId(pid=pid, started=psutil.Process(pid).create_time()))

    def process(self) -> psutil.Process | None:
        """The job's process while it lives."""
        known = self._read("pid", ProcessId)
        if known is None:
            return None
        try:
            process = psutil.Process(known.pid)
            if abs(process.create_time() - known.started) > 0.5 or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.Error:
            return None
        return process

    def mark_stopping(self) -> None:
        """Say that a cancel was asked for."""
        (self.path / "stopping").touch()

    @property
    def is_stopping(self) -> bool:
        """Whether a cancel was asked for."""
        return (self.path / "stopping").exists()

    def _stopping_s(self) -> float | None:
        """How long ago a cancel was asked for."""
        try:
            return time.time() - (self.path / "stopping").stat().st_mtime
        except FileNotFoundError:
            return None

    def append_event(self, progress: Progress, *, elapsed_s: float) -> None:
        """Add one line to the events."""
        event = Event(
            step=progress.step,
            done=progress.done,
            total=progress.total,
            elapsed_s=round(elapsed_s, 2),
            result=plain(progress.result),
        )
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(event)) + "\n")

    def last_event(self) -> Event | None:
        """Return the newest complete event."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return None
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65_536))
            lines = file.read().splitlines()
        for line in reversed(lines):
            with suppress(msgspec.DecodeError):
                return msgspec.json.decode(line, type=Event)
        return None

    def finish(self, state: JobState, *, cause: str = "", remedy: str = "", details: str = "") -> bool:
        """Write the final state unless there is one already; True when this call wrote it."""
        (self.path / "reserve").unlink(missing_ok=True)
        unfinished = self.path / f"result.{os.getpid()}.part"
        ending = Ending(state=state, at=time.time(), cause=cause, remedy=remedy, details=details)
        unfinished.write_text(json.dumps(plain(ending)), encoding="utf-8")
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
        asked = self.asked()
        is_alive = self.process() is not None  # looked at first: what ends after this has written its result
        event = self.last_event()
        ending = self._read("result.json", Ending)
        stopping_s = self._stopping_s()
        if ending is None:
            ending = Ending(state=self._state_without_end(is_alive, event, stopping_s), at=time.time())
        if ending.state is JobState.INTERRUPTED and not ending.cause:
            cause = gettext("The job's process ended without a result (killed, or the machine restarted).")
            ending = replace(ending, cause=cause, remedy=gettext("Resume it: finished parts are kept."))
        event = event or Event()
        return JobView(
            id=self.id,
            kind=asked.kind,
            spec=asked.spec,
            created_at=asked.created_at,
            state=ending.state,
            step=event.step,
            done=event.done,
            total=event.total,
            elapsed_s=event.elapsed_s,
            result=event.result,
            cause=ending.cause,
            remedy=ending.remedy,
            details=ending.details,
        )

    def _state_without_end(self, is_alive: bool, event: Event | None, stopping_s: float | None) -> JobState:
        if is_alive:
            running = JobState.RUNNING if event else JobState.STARTING
            return JobState.STOPPING if stopping_s is not None else running
        if stopping_s is not None:  # whoever cancels is tidying up, unless it was killed itself
            return JobState.STOPPING if stopping_s < CANCEL_TAKES_S else JobState.CANCELLED
        return JobState.QUEUED if self._read("pid", ProcessId) is None else JobState.INTERRUPTED
