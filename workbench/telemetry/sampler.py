"""Sampling of sources at a steady rate in a separate thread, on the clock that the load generator uses."""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.telemetry.samples import Recording, SampledSignals, Signal

RETRY_S = 5.0  # after a source was lost


class SourceLost(Exception):
    """A source cannot be read now; it is opened again after a while."""


class Source(Protocol):
    """Something that can be read again and again."""

    name: str
    period_s: float
    """Least time between two reads."""

    def open(self) -> Mapping[str, Signal]:
        """Return the signals that the source has; raises ``SourceLost`` with the reason."""

    def read(self) -> Mapping[str, float]:
        """Return the present values by the names of signals; raises ``SourceLost``."""

    def missing(self) -> Mapping[str, str]:
        """Return why signals are left out, by name."""

    def close(self) -> None:
        """Close what ``open`` has opened."""


class Sampler:
    """Keeps the samples of sources of the last ``keep_s`` seconds, and why any of them is missing."""

    def __init__(self, sources: Sequence[Source], *, rate_hz: float = 10.0, keep_s: float = 3600.0) -> None:
        if not 0.1 <= rate_hz <= 100:
            raise InvalidSpec(
                gettext("The sampling rate is {rate} Hz.").format(rate=rate_hz),
                remedy=gettext("Give 0.1 to 100 Hz."),
            )
        if keep_s <= 0:
            raise InvalidSpec(
                gettext("keep_s is {seconds}.").format(seconds=keep_s), remedy=gettext("Give a number above 0.")
            )
        self.sources, self.rate_hz, self.keep_s = list(sources), rate_hz, keep_s
        self.cpu_s = 0.0
        """Processor time of the sampling thread."""
        self.n_late = 0
        """Samples that began more than a period late."""
        self._signals: dict[str, Signal] = {}
        self._rows: deque[tuple[float, dict[str, float]]] = deque()
        self._problems: dict[str, str] = {}
        self._due: dict[str, float] = {}
        self._is_open: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Sampler":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start sampling; the thread ends with the process."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="workbench-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling and close the sources; the samples stay."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10.0)
            self._thread = None

    def recording(self, *, last_s: float | None = None) -> Recording:
        """Return a copy of all samples, or of those of the last seconds."""
        with self._lock:
            rows, signals = list(self._rows), dict(self._signals)
            problems = dict(self._problems)
        if last_s is not None and rows:
            after = rows[-1][0] - last_s
            rows = [r for r in rows if r[0] >= after]
        for source in self.sources:
            problems |= source.missing()
        return Recording.from_rows(signals, rows, problems=problems)

    def sampled(self) -> SampledSignals:
        """Return the samples as a run keeps them, with the processor time of the sampling itself."""
        return replace(self.recording().sampled(), cpu_s=round(self.cpu_s, 4), n_late=self.n_late)

    def _run(self) -> None:
        period = 1 / self.rate_hz
        due = time.monotonic()
        while not self._stop.is_set():
            self.read_once()
            self.cpu_s = time.thread_time()
            due += period
            wait = due - time.monotonic()
            if wait < -period:  # what was missed is not made up for
                self.n_late += 1
                due = time.monotonic()
            elif wait > 0:
                self._stop.wait(wait)
        for source in self.sources:
            source.close()
        self._is_open.clear()

    def read_once(self) -> None:
        """Read every source that is due."""
        for source in self.sources:
            now = time.monotonic()
            if now < self._due.get(source.name, 0.0):
                continue
            try:
                if source.name not in self._is_open:
                    signals = source.open()
                    with self._lock:
                        self._signals |= signals
                    self._is_open.add(source.name)
                reading = dict(source.read())
                self._due[source.name] = now + source.period_s * 0.9
            except SourceLost as lost:
                with self._lock:
                    self._problems[source.name] = str(lost)
                self._is_open.discard(source.name)
                source.close()
                self._due[source.name] = now + RETRY_S
                continue
            with self._lock:
                self._problems.pop(source.name, None)
                if reading:
                    self._rows.append((now, reading))
                while self._rows and self._rows[0][0] < now - self.keep_s:
                    self._rows.popleft()
