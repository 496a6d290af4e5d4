"""A recording of this machine as a run, with the newest samples handed up every second."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.core.progress import Progress
from workbench.core.recording import RecordingSpec
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.samples import Recording, Signal
from workbench.store.history import History
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment
from workbench.telemetry.gpu_source import GpuSource
from workbench.telemetry.host_source import HostSource
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import Sampler, Source

KIND = "recording"
TOLD_S = 1.0
MOST_TOLD = 2000  # a longer recording is told more rarely
KEPT_OF_HISTORY_S = 300.0
SLOWEST_S = 3.0  # signals that are read once a second have two samples in it


def run(spec: RecordingSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path()), on_progress)


def measure(spec: RecordingSpec, _folder: Path) -> Iterator[Progress | Run]:
    """Progress every second, with the samples since the last; last the run with all of them."""
    started_at, period = utc_now(), 1 / spec.rate_hz
    sources: list[Source] = [HostSource(spec.pids, period_s=period), GpuSource(period_s=period)]
    if spec.url is not None:
        sources.append(MetricsSource(spec.url))
    told_s = TOLD_S if spec.history else max(TOLD_S, spec.duration_s / MOST_TOLD)
    keep_s = spec.duration_s + 60.0 if spec.history is None else KEPT_OF_HISTORY_S
    days = DayWriter(Path(spec.history)) if spec.history else None
    with Sampler(sources, rate_hz=spec.rate_hz, keep_s=keep_s) as sampler:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < spec.duration_s:
            time.sleep(min(told_s, spec.duration_s - elapsed))
            newest = sampler.recording(last_s=told_s)
            if days is not None and time.monotonic() - began > SLOWEST_S:  # every signal has been seen by then
                days.add(sampler.recording(last_s=SLOWEST_S), at_s=time.time())
            yield Progress(
                step=_step(newest),
                done=min(time.monotonic() - began, spec.duration_s),
                total=spec.duration_s,
                result={"telemetry": newest.to_dict()},
            )
        made = sampler.recording()
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(chosen_device("auto")),
        started_at=started_at,
        finished_at=utc_now(),
        seed=0,
        results=[],
        samples={
            "started_monotonic_s": began,
            "telemetry": made.to_dict() | {"cpu_s": round(sampler.cpu_s, 4), "n_late": sampler.n_late},
        },
        failures=[],
    )


class DayWriter:
    """Adds a row a second to a history: means of gauges, growth per second of counters.

    Args:
        folder: Made with the first row; its signals are those that the machine has then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history: History | None = None

    def add(self, newest: Recording, *, at_s: float) -> None:
        """Add what was sampled lately; ``at_s`` is the time of day (epoch). Raises ``StoreError`` for a folder of other signals."""
        told = {s.name: value for s, value in _lately(newest)}
        if self._history is None:
            if not told:
                return
            self._history = History(self._folder, [s for s, _ in _lately(newest)])
        last = self._history.ends_s
        if last is None or at_s > last[1]:  # a clock that was set back does not end the recording
            self._history.append(at_s, told)


def _lately(newest: Recording) -> Iterator[tuple[Signal, float]]:
    for name, signal in newest.signals.items():
        seen, at = newest.values.get(name), newest.times_s.get(name)
        if seen is None or at is None or not seen.size:
            continue
        if signal.kind == "gauge":
            yield signal, float(seen[at >= at[-1] - TOLD_S].mean())
        elif at.size > 1:
            grown = newest.increase(name, float(at[0]), float(at[-1])) or 0.0
            per_s = Signal(name=f"{name}.per_s", unit=f"{signal.unit}/s", label=f"{signal.label}, per second")
            yield per_s, grown / float(at[-1] - at[0])


def recording_of(run: Run) -> Recording | None:
    """The samples of a run that has any."""
    told: Any = run.samples.get("telemetry")
    return Recording.from_dict(told) if told else None


def span_of(run: Run, made: Recording) -> tuple[float, float]:
    """Start and end of what a run did, in seconds of the monotonic clock: of its requests, else of its samples."""
    start = run.samples.get("started_monotonic_s")
    ends = [q["end_s"] for q in run.samples.get("requests", []) if q.get("end_s") is not None]
    last = max((float(t[-1]) for t in made.times_s.values() if t.size), default=0.0)
    first = min((float(t[0]) for t in made.times_s.values() if t.size), default=0.0)
    if start is None:
        return first, last
    return float(start), min(last, float(start) + max(ends)) if ends else last


def _step(newest: Recording) -> str:
    parts = []
    for name, text in (("gpu0.utilisation_percent", "GPU {:.0f} %"), ("host.cpu_percent", "processors {:.0f} %")):
        if name in newest:
            parts.append(text.format(newest.values[name][-1]))
    if "gpu" in newest.problems:
        parts.append(f"no GPU: {newest.problems['gpu']}")
    return " · ".join(parts) or "sampling"
