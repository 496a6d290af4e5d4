"""A load on a server: preflight, the load itself, its calibration, and the run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from workbench.core.load import LoadSpec, RequestRecord
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.load.prefix_cache import WARN_FRACTION, PrefixCounters, hit_fraction, prefix_counters
from workbench.load.preflight import ServerProblem, known_fields
from workbench.load.probe import described, probe
from workbench.load.process import LoadProcess
from workbench.load.prompts import open_tokenizer
from workbench.load.records import records
from workbench.load.schedule import schedule
from workbench.load.summary import client_health, summary
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment
from workbench.telemetry.gpu_source import GpuSource
from workbench.telemetry.host_source import HostSource, listening_on
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import Sampler, Source
from workbench.testing.mock_process import MockProcess
from workbench.testing.mock_server import MockSettings

KIND = "load"
CALIBRATION_S = 3.0
OWN_NAMES = {"localhost", "127.0.0.1", "::1"}


def run(spec: LoadSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path()), on_progress)


def measure(spec: LoadSpec, _folder: Path) -> Iterator[Progress | Run]:
    """Progress, about four times a second, with the requests that ended since; last the run.

    A server that cannot be measured gives a run without requests, with the cause among its failures.
    """
    started_at = utc_now()
    total = spec.duration_s + (CALIBRATION_S if spec.calibrate else 0.0)
    with LoadProcess() as process:
        try:
            without = known_fields(spec)
        except ServerProblem as problem:
            yield _run(spec, started_at, [], {}, [{"cause": problem.cause, "remedy": problem.remedy}], {})
            return
        asked: dict[str, Any] = {}
        if spec.probe:
            yield Progress(step="asking the server alone", done=0.0, total=total)
            asked = {"server": described(spec), "probe": probe(spec)}
        before = prefix_counters(spec)
        result: Mapping[str, Any] = {}
        sampler = sampler_for(spec, process.pid) if spec.telemetry_hz else None
        with sampler or nullcontext():
            for kind, value in process.messages(spec, without=without):
                result = value
                if kind == "progress":
                    yield Progress(
                        step=f"{value['n_finished']} of {value['n_sent']} requests answered, {value['n_failed']} failed",
                        done=min(max(value["elapsed_s"], 0.0), spec.duration_s),
                        total=total,
                        result=value,
                    )
        after = prefix_counters(spec)
        found = _records(spec, result)
        calibration = None
        if spec.calibrate and any(r.ok for r in found):
            yield Progress(step="calibrating the client against the mock server", done=spec.duration_s, total=total)
            calibration = calibrate(spec, found, process)
    health = client_health(found, result, calibration=calibration)
    answers = summary(spec, found, health) | {"prefix_cache": _prefix(before, after)}
    failures = failures_of(found)
    run = _run(spec, started_at, found, answers, failures, result)
    run = replace(run, samples=dict(run.samples) | asked)
    if sampler is not None:
        told = sampler.recording().to_dict() | {"cpu_s": round(sampler.cpu_s, 4), "n_late": sampler.n_late}
        run = replace(run, samples=dict(run.samples) | {"telemetry": told})
    yield run


def sampler_for(spec: LoadSpec, client_pid: int) -> Sampler:
    """Reads this machine, the process that sends, the GPUs, and the server's counters once a second."""
    period = 1 / spec.telemetry_hz
    server_pid = spec.server_pid
    place = urlsplit(spec.base_url)
    if server_pid is None and place.hostname in OWN_NAMES:
        server_pid = listening_on(place.port or 80)
    sources: list[Source] = [
        HostSource([client_pid], server_pid=server_pid, period_s=period),
        GpuSource(period_s=period),
        MetricsSource(spec.base_url),
    ]
    return Sampler(sources, rate_hz=spec.telemetry_hz, keep_s=spec.duration_s + spec.timeout_s + 60.0)


def _records(spec: LoadSpec, result: Mapping[str, Any]) -> list[RequestRecord]:
    return records(result["flights"], [p.input_tokens for p in schedule(spec)], open_tokenizer(spec.tokenizer))


def calibrate(spec: LoadSpec, found: list[RequestRecord], process: LoadProcess) -> tuple[float, float]:
    """What the client adds to TTFT p99 and ITL p99 of the mock server at the rate of the load, seconds.

    The mock sends as many tokens per request, at the pace that was measured.
    """
    ok = [r for r in found if r.ok]
    sent = sorted(r.sent_s for r in found if r.sent_s is not None)
    rate = (len(sent) - 1) / (sent[-1] - sent[0]) if len(sent) > 1 and sent[-1] > sent[0] else 1.0
    tpot = float(np.median([r.tpot_s or 0.01 for r in ok]))
    settings = MockSettings(ttft_s=0.02, itl_s=min(max(tpot, 1e-4), 0.05))
    tokens = max(2, min(int(np.median([len(r.chunk_s) for r in ok])), int(1.0 / settings.itl_s)))
    with MockProcess(settings) as mock:
        short = replace(
            spec,
            url=mock.url,
            model=settings.model,
            arrivals="poisson",
            rate_per_s=max(rate, 5.0),
            concurrency=None,
            duration_s=min(CALIBRATION_S, max(1.0, 2000 / rate)),
            output_tokens=tokens,
            output_cv=0.0,
            input_cv=0.0,
            turns=1,
            tokenizer=None,
            timeout_s=30.0,
        )
        result: Mapping[str, Any] = {}
        for _, value in process.messages(short):
            result = value
        truth = mock.truth()
    return errors_against(truth, result)


def errors_against(truth: Mapping[str, Mapping[str, Any]], result: Mapping[str, Any]) -> tuple[float, float]:
    """Reported minus true p99 of TTFT and of the gaps between tokens, seconds.

    The true TTFT runs from the moment of sending to the server's write, on one monotonic clock.
    """
    start = result["started_monotonic_s"]
    by_index = {int(key.rpartition("-")[2]): row for key, row in truth.items() if "-" in key}
    ttft, true_ttft, gaps, true_gaps = [], [], [], []
    for row in result["flights"]:
        true = by_index.get(row["index"])
        if true is None or not row["chunk_s"] or not true["writes_s"]:
            continue
        ttft.append(row["chunk_s"][0] - row["sent_s"])
        true_ttft.append(true["writes_s"][0] - start - row["sent_s"])
        gaps.append(np.diff(row["chunk_s"]))
        true_gaps.append(np.diff(true["writes_s"]))
    if not ttft:
        return float("inf"), float("inf")

    def p99(values: Any) -> float:
        return float(np.quantile(values, 0.99))

    itl = p99(np.concatenate(gaps)) - p99(np.concatenate(true_gaps)) if any(g.size for g in gaps) else 0.0
    return p99(ttft) - p99(true_ttft), itl


def _prefix(before: PrefixCounters | None, after: PrefixCounters | None) -> dict[str, Any]:
    share = hit_fraction(before, after)
    warning = None
    if share is not None and share > WARN_FRACTION:
        warning = (
            f"{share:.1%} of the prompt tokens came from the server's prefix cache: TTFT is shorter than without it."
        )
    return {"hit_fraction": share, "warning": warning, "counters_found": before is not None}


def failures_of(found: list[RequestRecord]) -> list[Mapping[str, str]]:
    """The causes of failed requests, the most frequent first."""
    by_cause: dict[str, int] = {}
    for r in found:
        if not r.ok:
            cause = r.error or "no answer"
            by_cause[cause] = by_cause.get(cause, 0) + 1
    return [
        {
            "cause": f"{n} of {len(found)} requests failed: {cause}.",
            "remedy": "They count as SLO misses; see the server's log.",
        }
        for cause, n in sorted(by_cause.items(), key=lambda item: -item[1])[:10]
    ]


def _run(
    spec: LoadSpec,
    started_at: str,
    found: list[RequestRecord],
    answers: Mapping[str, Any],
    failures: list[Mapping[str, str]],
    result: Mapping[str, Any],
) -> Run:
    return Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(chosen_device("auto")),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=[answers] if answers else [],
        samples={"requests": [sample(r) for r in found], "started_monotonic_s": result.get("started_monotonic_s")},
        failures=failures,
    )


def sample(r: RequestRecord) -> dict[str, Any]:
    """A request as it is kept: times to the microsecond, chunks as gaps in microseconds."""

    def at(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds, 6)

    gaps = [round((b - a) * 1e6) for a, b in zip(r.chunk_s, r.chunk_s[1:], strict=False)]
    return {
        "due_s": at(r.due_s),
        "sent_s": at(r.sent_s),
        "connect_s": at(r.connect_s),
        "first_event_s": at(r.first_event_s),
        "first_content_s": at(r.first_content_s),
        "gaps_us": gaps,
        "chunk_tokens": list(r.chunk_tokens) if r.chunk_tokens and set(r.chunk_tokens) != {1} else None,
        "end_s": at(r.end_s),
        "input_tokens": r.usage_input_tokens or r.input_tokens,
        "output_tokens": r.output_tokens,
        "token_source": r.token_source,
        "error": r.error,
    }
