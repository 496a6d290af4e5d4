"""One load on a server with a setting, and the times of its requests."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.catalog.paths import located
from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress
from workbench.core.runs import Run
from workbench.load.cut import cut
from workbench.load.rows import KeptRequest, LoadResult, LoadSamples
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import measured
from workbench.questions.tuning.measure.servers import Served
from workbench.questions.tuning.rows import RequestTimes
from workbench.questions.tuning.spec import TuneSpec

WARM_UP_S = 3.0
PROBE_S = 3.0
MOST_PROBED = 64
"""Users of the largest probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOutcome:
    """What one load left behind."""

    times: RequestTimes
    attainment_fraction: float
    n_requests: int
    n_failed: int
    output_tokens_per_s: float
    seconds: float
    """With the warm-up before it."""
    warnings: tuple[str, ...]


def tokenizer_of(spec: TuneSpec) -> str | None:
    """Return the folder of the model's tokenizer, with which prompts are sent as token ids; None where there is none."""
    folder = Path(located(spec.model))
    return str(folder) if (folder / "tokenizer.json").exists() else None


def probe_loads(spec: TuneSpec, served: Served, *, most: int) -> list[LoadSpec]:
    """Return short closed loops of requests of equal length: one user, some, and many."""
    base = replace(
        spec.load(served.url, served.model, seed=spec.seed, tokenizer=tokenizer_of(spec)),
        arrivals="closed",
        trace=None,
        turns=1,
        duration_s=PROBE_S,
        input_cv=0.0,
        output_cv=0.0,
        shared_prefix_tokens=0,
        concurrency=1,
    )
    many = min(most, MOST_PROBED)
    return [replace(base, concurrency=n) for n in sorted({1, max(1, many // 8), many})]


def warm_up(spec: LoadSpec) -> LoadSpec:
    """Return a short load of the same kind with other requests: engines compile kernels for new sizes."""
    return replace(spec, duration_s=min(WARM_UP_S, spec.duration_s / 2), seed=spec.seed + 7919)


def drain_s(spec: TuneSpec) -> float | None:
    """Return how long after the last arrival a request may still meet the SLO; None where every answer counts."""
    if spec.maximise == "latency":
        return None
    longest = spec.output_tokens * (1 + 3 * spec.output_cv)
    return spec.slo_ttft_s + spec.slo_tpot_s * longest + 1.0


def outcome(spec: LoadSpec, folder: Path, *, wait_s: float | None = None) -> Iterator[Progress | LoadOutcome]:
    """Yield the progress of a load and, last, its outcome.

    Args:
        spec: The load.
        folder: For its files.
        wait_s: Seconds after the last arrival from which on no answer is waited for: what comes later misses the SLO.

    Raises:
        WorkbenchError: Nothing could be sent.
    """
    started = time.monotonic()
    for item in cut(measured(spec, folder), spec.duration_s + wait_s if wait_s else None):
        if not isinstance(item, Run):
            yield item
            continue
        result = item.row(LoadResult)
        if result is None:
            raise WorkbenchError(item.failures[0].cause, remedy=item.failures[0].remedy)
        is_closed = spec.arrivals == "closed"  # its last requests are cut off by the end, not by waiting
        requests = [r for r in item.sampled(LoadSamples).requests if not (r.is_cancelled and is_closed)]
        yield LoadOutcome(
            times=times_of(requests),
            attainment_fraction=result.goodput.attainment_fraction if result.goodput else 0.0,
            n_requests=len(requests),
            n_failed=result.counts.failed,
            output_tokens_per_s=result.rates.output_tokens_per_s if result.rates else 0.0,
            seconds=time.monotonic() - started,
            warnings=tuple(w.text for w in result.warnings),
        )


def times_of(requests: list[KeptRequest]) -> RequestTimes:
    """Return the times of requests in the order in which they were due, rounded to 0.1 ms."""
    ordered = sorted(requests, key=lambda r: r.due_s)

    def since_due(r: KeptRequest, at_s: float | None) -> float | None:
        return None if at_s is None or r.error else round(at_s - r.due_s, 4)

    def tpot(r: KeptRequest) -> float | None:
        if r.error or r.first_content_s is None or r.end_s is None or r.output_tokens < 2:
            return None
        return round((r.end_s - r.first_content_s) / (r.output_tokens - 1), 5)

    return RequestTimes(
        due_s=[round(r.due_s, 4) for r in ordered],
        ttft_s=[since_due(r, r.first_content_s) for r in ordered],
        tpot_s=[tpot(r) for r in ordered],
        e2e_s=[since_due(r, r.end_s) for r in ordered],
        output_tokens=[r.output_tokens for r in ordered],
    )
