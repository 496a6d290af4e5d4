"""What a sweep holds: a result for each engine, with its trials."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from workbench.core.rows import Json, Row, Samples, flat
from workbench.core.runs import Run
from workbench.load.messages import LoadProgress
from workbench.load.rows import LoadWarning, TimedRequest

NOT_COMPARABLE = {"short-answers", "not-streamed", "buffered"}
"""Kinds of warnings with which a rate is no rate of the answers that were asked for, or its latencies are not those of tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One request rate on one engine."""

    rate_per_s: float
    attainment_fraction: float
    """SLO attainment: share of the requests that met the SLO."""
    attainment_interval: tuple[float, float]
    """95 % interval of the attainment: Wilson's for the independent requests, since neighbours in a queue are alike."""
    good_per_s: float
    """Goodput: requests per second that met the SLO."""
    output_tokens_per_s: float
    ttft_p50_s: float | None
    """From when a request was due, as all latencies here."""
    ttft_p99_s: float | None
    tpot_p50_s: float | None
    e2e_p50_s: float | None
    n_requests: int
    n_failed: int
    client: str
    """Verdict on the load generator: good, doubtful or client-bound."""
    warnings: tuple[LoadWarning, ...] = ()
    """What keeps these figures from meaning what they seem to."""
    mean_output_tokens: float | None = None
    """Tokens of an answer; None: not recorded."""
    nonce: int | None = None
    """Prompt nonce of the load."""

    def surely_misses(self, attainment: float) -> bool:
        """Return whether even the upper end of the interval is below a required attainment."""
        return self.attainment_interval[1] < attainment

    @property
    def not_comparable(self) -> tuple[LoadWarning, ...]:
        """Return the warnings for which requests/s within an SLO cannot be set beside those of other engines."""
        return tuple(w for w in self.warnings if w.kind in NOT_COMPARABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far the trials of an engine meet an SLO, lower rates first."""

    peak: Trial | None
    """Highest rate that met it, no lower rate having surely missed it; None where there is none."""
    uncertain: tuple[Trial, ...]
    """Lower rates than the peak that missed it by no more than their intervals."""
    possible: tuple[Trial, ...]
    """Higher rates that missed it by no more than their intervals, up to the first that surely missed it."""
    beyond: tuple[Trial, ...]
    """Rates that met it above one that surely missed it: the attainment is not monotone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult(Row):
    """One engine of a sweep."""

    engine: str
    """As it was asked for: ``vllm``, ``vllm --max-num-seqs 8`` or a URL."""
    status: Literal["measured", "not available", "failed"]
    reason: str | None = None
    """Why it was not measured."""
    version: str | None = None
    startup_s: float | None = None
    """Time from the launch of the server until it answered; None for a server that ran already."""
    memory_bytes: float | None = None
    """Of the server's processes, after the trials (CPU: resident and shared in proportion; CUDA: of the GPU)."""
    launch: str | None = None
    """Launch command of the server, without paths of the machine."""
    trials: tuple[Trial, ...] = ()

    def reach(self, attainment: float) -> Reach:
        """Return how far the trials meet an SLO, whose attainment they were counted under."""
        ordered = sorted(self.trials, key=lambda t: t.rate_per_s)
        first_miss = next((i for i, t in enumerate(ordered) if t.surely_misses(attainment)), len(ordered))
        at = max((i for i, t in enumerate(ordered[:first_miss]) if t.attainment_fraction >= attainment), default=-1)
        return Reach(
            peak=ordered[at] if at >= 0 else None,
            uncertain=tuple(t for t in ordered[: max(at, 0)] if t.attainment_fraction < attainment),
            possible=tuple(ordered[at + 1 : first_miss]),
            beyond=tuple(t for t in ordered[first_miss:] if t.attainment_fraction >= attainment),
        )

    def best(self, attainment: float) -> Trial | None:
        """Return the trial with the highest rate that met the SLO, none of a lower rate having surely missed it."""
        return self.reach(attainment).peak


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSamples(Samples):
    """Raw samples of a sweep."""

    requests: Mapping[str, Mapping[str, Sequence[TimedRequest]]] = field(default_factory=dict)
    """Requests of each trial, by engine and request rate."""

    def of(self, engine: str, trial: Trial) -> Sequence[TimedRequest]:
        """Return the requests of a trial; none where they were not kept."""
        return self.requests.get(engine, {}).get(rate_name(trial.rate_per_s), ())

    def in_order(self) -> Mapping[str, Sequence[float]]:
        """Return TTFT and end-to-end latency of each request of a trial; the seed gives a place the same arrival and lengths."""
        series: dict[str, Sequence[float]] = {}
        for engine, trials in self.requests.items():
            for rate, requests in trials.items():
                answered = [None if r.error or r.is_cancelled else r for r in requests]
                for name, end in (("TTFT", "first_content_s"), ("end-to-end latency", "end_s")):
                    ends = [(r and getattr(r, end)) or math.nan for r in answered]
                    series[f"{engine} at {rate}/s: {name}, s"] = [
                        at - r.due_s for at, r in zip(ends, requests, strict=True)
                    ]
        return series


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTrial:
    """Progress of the trial that goes on."""

    engine: str
    rate_per_s: float
    load: LoadProgress


ROWS = (EngineResult,)
SAMPLES = SweepSamples


def rate_name(rate_per_s: float) -> str:
    """Return the name under which a trial is kept, such as 45.2548."""
    return f"{rate_per_s:.6g}"


def csv_rows(run: Run) -> list[dict[str, Json]]:
    """Return a row for each engine and rate; for each engine where none was measured."""
    results = run.rows(EngineResult)
    rows: list[dict[str, Json]] = [
        {
            "engine": r.engine,
            "version": r.version,
            "startup_s": r.startup_s,
            "memory_bytes": r.memory_bytes,
            **flat(trial),
        }
        for r in results
        for trial in r.trials
    ]
    return rows or [{"engine": r.engine, "status": r.status, "reason": r.reason} for r in results]
