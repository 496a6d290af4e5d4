"""The process of a job: ``python -m workbench.jobs.child FOLDER STORE``."""

import os
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from workbench.core.errors import StoreError, WorkbenchError
from workbench.core.kinds import spec_class
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Samples
from workbench.core.runs import Run
from workbench.jobs.directory import EVENT_INTERVAL_S, JobDirectory, JobState
from workbench.measuring.envelope import measured
from workbench.store.runs import RunStore

Measure = Callable[[str, Mapping[str, object], Path], Iterator[Progress | Run]]
"""From a kind, its spec as JSON and a folder to progress and, last, the run."""


def measured_kind(kind: str, spec: Mapping[str, object], folder: Path) -> Iterator[Progress | Run]:
    """Yield the progress and the run of a kind of measurement."""
    return measured(spec_class(kind).from_dict(spec), folder)


def carry_out(directory: JobDirectory, store: RunStore, measure: Measure) -> None:
    """Measure, store the run, and leave a final state whatever happens.

    An interrupt is handed to the measurement: one that can keep what it has measured ends with a run.
    """
    job = directory.asked()
    started = time.monotonic()
    written_at = -EVENT_INTERVAL_S
    try:
        for item in _interruptible(measure(job.kind, job.spec, directory.path)):
            if isinstance(item, Run):
                _store(replace(item, id=directory.id), directory, store)
                return
            now = time.monotonic()
            if now - written_at >= EVENT_INTERVAL_S:
                with suppress(OSError):  # a full disk: the measurement goes on, its progress is not seen
                    directory.append_event(item, elapsed_s=now - started)
                written_at = now
    except KeyboardInterrupt:  # nothing was kept: whoever ended the job says what became of it
        sys.exit(130)
    except Exception as error:
        cause = gettext_noop("The measurement stopped with {kind}: {error}.").format(
            kind=type(error).__name__, error=error
        )
        remedy = gettext_noop("The log has the details; please report them.")
        if isinstance(error, WorkbenchError):
            cause, remedy = error.cause, error.remedy
        elif isinstance(error, OSError):
            cause = gettext_noop("The job could not write its files: {error}.").format(error=error)
            remedy = gettext_noop("Free disk space, then resume: finished parts are kept.")
        directory.finish(JobState.FAILED, cause=cause, remedy=remedy, details=traceback.format_exc())


def _interruptible(items: Iterator[Progress | Run]) -> Iterator[Progress | Run]:
    """Yield the items of a measurement; an interrupt between two of them is raised inside it."""
    is_interrupted = False
    while True:
        try:
            item = items.throw(KeyboardInterrupt()) if is_interrupted and isinstance(items, Generator) else next(items)
            is_interrupted = False
        except StopIteration:
            return
        try:
            yield item
        except KeyboardInterrupt:
            is_interrupted = True


def _store(run: Run, directory: JobDirectory, store: RunStore) -> None:
    """Store a run, or save it as a file wherever there is room for it."""
    try:
        store.add(run)
        directory.finish(JobState.DONE)
        return
    except (OSError, sqlite3.Error, StoreError) as error:
        cause = gettext_noop("The run could not be stored: {error}.").format(error=str(error).rstrip("."))
    (directory.path / "reserve").unlink(missing_ok=True)
    short = replace(run, samples=Samples())
    places = [Path(tempfile.gettempdir()), Path("/dev/shm"), Path.home(), Path.cwd(), directory.path]  # noqa: S108 - memory is not full
    for content, place in [(run, p) for p in places] + [(short, p) for p in places]:
        file = place / f"workbench-run-{directory.id}.json"
        try:
            file.write_text(content.to_json(), encoding="utf-8")
        except OSError:
            with suppress(OSError):
                file.unlink(missing_ok=True)
            continue
        saved = gettext_noop("{cause} It was saved as {file}.")
        if content is not run:
            saved = gettext_noop("{cause} It was saved as {file}. It has no raw samples: there was no room for them.")
        directory.finish(
            JobState.DONE,
            cause=saved.format(cause=cause, file=file),
            remedy=gettext_noop("Free disk space, then: workbench runs import {file}").format(file=file),
            details=str(file),
        )
        return
    directory.finish(JobState.FAILED, cause=cause, remedy=gettext_noop("Free disk space, and run again."))


def _on_signal(directory: JobDirectory) -> None:
    """Let a signal end the measurement as Ctrl-C does; a cancel, which leaves its mark first, ends the process at once."""

    def handle(number: int, _: object) -> None:
        if directory.is_stopping:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, handle)


def main() -> None:
    """Read the two paths and carry the job out."""
    folder, store = map(Path, sys.argv[1:3])
    _on_signal(JobDirectory(folder))
    carry_out(JobDirectory(folder), RunStore(store), measured_kind)


if __name__ == "__main__":
    main()
