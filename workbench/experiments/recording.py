"""A recording of this machine as a run, with the newest samples handed up every second."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.core.progress import Progress
from workbench.core.recording import RecordingSpec
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.samples import Recording
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment
from workbench.telemetry.gpu_source import GpuSource
from workbench.telemetry.host_source import HostSource
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import Sampler, Source

KIND = "recording"
TOLD_S = 1.0
MOST_TOLD = 2000  # a longer recording is told more rarely


def run(spec: RecordingSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path()), on_progress)


def measure(spec: RecordingSpec, _folder: Path) -> Iterator[Progress | Run]:
    """Progress every second, with the samples since the last; last the run with all of them."""
    started_at, period = utc_now(), 1 / spec.rate_hz
    sources: list[Source] = [HostSource(spec.pids, period_s=period), GpuSource(period_s=period)]
    if spec.url is not None:
        sources.append(MetricsSource(spec.url))
    told_s = max(TOLD_S, spec.duration_s / MOST_TOLD)
    with Sampler(sources, rate_hz=spec.rate_hz, keep_s=spec.duration_s + 60.0) as sampler:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < spec.duration_s:
            time.sleep(min(told_s, spec.duration_s - elapsed))
            newest = sampler.recording(last_s=told_s)
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
