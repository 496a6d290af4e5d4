"""Deliveries of notifications: kept in a file until they are delivered, and retried with growing waits, also after a restart."""

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from workbench.core.errors import StoreError, WorkbenchError, system_message
from workbench.core.language import gettext

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0
REFUSALS = 5
"""Tries of a notification that its receiver refuses as invalid."""
MOST_KEPT = 10_000
ENDING_S = 10.0
"""Time for the last deliveries when a watch ends."""


class Refused(WorkbenchError):
    """An error: the receiver refused a notification as invalid, which it would do again."""


class Notice(msgspec.Struct, frozen=True):
    """A notification: its text, and what it is about."""

    text: str
    about: str


class Outbox:
    """Delivers notifications in their order, from a thread of its own, until the ``with`` block ends; what is left waits in the file.

    A notification may arrive twice when the process is killed between its delivery and the note of it, and is never lost.

    Args:
        file: Where notifications wait; a number is added to its name while another process uses it.
        deliver: Delivers one; raises ``WorkbenchError`` when that fails.
        report: Is called with the error when deliveries begin to fail, and when a notification is given up.
    """

    def __init__(
        self,
        file: Path,
        deliver: Callable[[Notice], None],
        *,
        report: Callable[[str], None],
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._deliver, self._report, self._first_wait_s = deliver, report, first_wait_s
        self._file, self._lock = _unused(file)
        self._changed = threading.Condition()
        self._waiting: deque[Notice] = deque(_read(self._file))
        self._is_over = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, notice: Notice) -> None:
        """Keep a notification, which is on the disk when this returns, and deliver it soon."""
        with self._changed:
            self._waiting.append(notice)
            while len(self._waiting) > MOST_KEPT:
                self._report(f"{self._waiting.popleft().about}: given up, as {MOST_KEPT:,} later notifications wait.")
            self._write()
            self._changed.notify_all()

    def __enter__(self) -> "Outbox":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._thread.join(timeout=ENDING_S)
        if n := len(self._waiting):
            self._report(f"{n} notifications are not delivered yet; the next watch of this server delivers them.")
        self._lock.close()

    def _work(self) -> None:
        n_failed = 0
        while True:
            with self._changed:
                while not self._waiting and not self._is_over:
                    self._changed.wait()
                if not self._waiting or (self._is_over and n_failed):
                    return
                notice = self._waiting[0]
            try:
                self._deliver(notice)
            except WorkbenchError as error:
                n_failed += 1
                if n_failed == 1:
                    self._report(f"{error} It is retried.")
                if not isinstance(error, Refused) or n_failed < REFUSALS:
                    self._pause(min(LONGEST_WAIT_S, self._first_wait_s * 2.0 ** min(n_failed - 1, 20)))
                    continue
                self._report(f"{notice.about}: given up after {n_failed} tries.")
            n_failed = 0
            with self._changed:
                if self._waiting and self._waiting[0] is notice:
                    self._waiting.popleft()
                    self._write()

    def _pause(self, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        with self._changed:
            while not self._is_over and (left_s := until - time.monotonic()) > 0:
                self._changed.wait(left_s)

    def _write(self) -> None:
        unfinished = self._file.with_suffix(".part")
        with unfinished.open("wb") as out:
            out.writelines(msgspec.json.encode(notice) + b"\n" for notice in self._waiting)
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, self._file)


def _unused(file: Path) -> tuple[Path, IO[str]]:
    """Return the first of some files that no other process uses, and its lock."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for n in range(100):
        own = file.with_name(f"{file.name}.{n}.jsonl")
        lock = own.with_suffix(".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        return own, lock
    raise StoreError(gettext("100 processes use {file}.").format(file=file), remedy=gettext("End some of the watches."))


def _read(file: Path) -> list[Notice]:
    if not file.exists():
        return []
    try:
        return [msgspec.json.decode(line, type=Notice) for line in file.read_bytes().splitlines()]
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(
            gettext("{file} holds no notifications: {error}.").format(file=file, error=system_message(error)),
            remedy=gettext("Remove the file."),
        ) from error
