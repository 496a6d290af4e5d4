"""A recording of this machine as a run, with the newest samples handed up every second."""

import time
from collections.abc import Iterator
from pathlib import Path

from workbench.core.progress import Progress
from workbench.load.recording.rows import RecordingSamples
from workbench.load.recording.spec import RecordingSpec
from workbench.measuring.envelope import Record
from workbench.telemetry.gpu_source import GpuSource
from workbench.telemetry.history import History
from workbench.telemetry.host_source import HostSource
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import Sampler, Source
from workbench.telemetry.samples import Recording, Signal

REPORT_S = 1.0
MOST_REPORTS = 2000  # a longer recording reports its progress more rarely
KEPT_OF_HISTORY_S = 300.0
SLOWEST_S = 3.0  # signals that are read once a second have two samples in it


def measure(spec: RecordingSpec, record: Record) -> Iterator[Progress]:
    """Yield progress with the samples since the last; the record gets all of them, or the last minutes beside a history."""
    period = 1 / spec.rate_hz
    sources: list[Source] = [HostSource(spec.pids, period_s=period), GpuSource(period_s=period)]
    if spec.url is not None:
        sources.append(MetricsSource(spec.url))
    history = HistoryWriter(Path(spec.history)) if spec.history else None
    report_s = REPORT_S if history else max(REPORT_S, spec.duration_s / MOST_REPORTS)
    keep_s = KEPT_OF_HISTORY_S if history else spec.duration_s + 60.0
    with Sampler(sources, rate_hz=spec.rate_hz, keep_s=keep_s) as sampler:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < spec.duration_s:
            time.sleep(min(report_s, spec.duration_s - elapsed))
            elapsed = time.monotonic() - began
            newest = sampler.recording(last_s=report_s)
            if history is not None and elapsed > SLOWEST_S:  # every signal has been seen by then
                history.add(sampler.recording(last_s=SLOWEST_S), at_s=time.time())
            yield Progress(
                step=_step(newest),
                done=min(elapsed, spec.duration_s),
                total=spec.duration_s,
                result=newest.sampled(),
            )
        record.samples = RecordingSamples(started_monotonic_s=began, telemetry=sampler.sampled())


class HistoryWriter:
    """Adds a row a second to a history: means of gauges, growth per second of counters.

    Args:
        folder: Made with the first row; its signals are those that the machine has then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history: History | None = None

    def add(self, newest: Recording, *, at_s: float) -> None:
        """Add what was sampled lately; ``at_s`` is the time of day (epoch). Raises ``StoreError`` for a folder of other signals."""
        latest = list(_latest(newest))
        if self._history is None:
            if not latest:
                return
            self._history = History(self._folder, [signal for signal, _ in latest])
        last = self._history.ends_s
        if last is None or at_s > last[1]:  # a clock that was set back does not end the recording
            self._history.append(at_s, {signal.name: value for signal, value in latest})


def _latest(newest: Recording) -> Iterator[tuple[Signal, float]]:
    for name, signal in newest.signals.items():
        if name not in newest:
            continue
        values, at = newest.values[name], newest.times_s[name]
        if signal.kind == "gauge":
            yield signal, float(values[at >= at[-1] - REPORT_S].mean())
        elif at.size > 1:
            grown = newest.increase(name, float(at[0]), float(at[-1])) or 0.0
            per_s = Signal(name=f"{name}.per_s", unit=f"{signal.unit}/s", label=f"{signal.label}, per second")
            yield per_s, grown / float(at[-1] - at[0])


def _step(newest: Recording) -> str:
    parts = []
    for name, text in (("gpu0.utilisation_percent", "GPU {:.0f} %"), ("host.cpu_percent", "processors {:.0f} %")):
        if name in newest:
            parts.append(text.format(newest.values[name][-1]))
    if "gpu" in newest.problems:
        parts.append(f"no GPU: {newest.problems['gpu']}")
    return " · ".join(parts) or "sampling"
