"""What a recording leaves behind: the samples of a run, and the span that they are of. A load with telemetry holds the same."""

from dataclasses import dataclass

from workbench.core.rows import Row, Samples
from workbench.core.runs import Run
from workbench.load.rows import LoadSamples
from workbench.telemetry.samples import Recording, SampledSignals


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSamples(Samples):
    """Raw samples of a recording."""

    telemetry: SampledSignals
    started_monotonic_s: float | None = None
    """Start on the machine's monotonic clock, that of the telemetry."""


ROWS: tuple[type[Row], ...] = ()
SAMPLES = RecordingSamples


def recording_of(run: Run) -> Recording | None:
    """Return the samples of a run; None where it has none."""
    kept = run.samples.telemetry if isinstance(run.samples, LoadSamples | RecordingSamples) else None
    return Recording.of(kept) if kept else None


def sampled_span(recording: Recording) -> tuple[float, float]:
    """Return the times of the first and the last sample, in seconds of the monotonic clock."""
    times = [t for t in recording.times_s.values() if t.size]
    return min((float(t[0]) for t in times), default=0.0), max((float(t[-1]) for t in times), default=0.0)


def span_of(run: Run, recording: Recording) -> tuple[float, float]:
    """Return start and end of what a run did, in seconds of the monotonic clock: of its requests, else of its samples."""
    first, last = sampled_span(recording)
    samples = run.samples
    start = samples.started_monotonic_s if isinstance(samples, LoadSamples | RecordingSamples) else None
    if start is None:
        return first, last
    requests = samples.requests if isinstance(samples, LoadSamples) else ()
    ends = [q.end_s for q in requests if q.end_s is not None]
    return start, min(last, start + max(ends)) if ends else last
