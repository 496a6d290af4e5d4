"""A load on a server: preflight, the load itself, its calibration, and the run."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from workbench.apparatus.mock_dialects import Truth
from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.load.messages import SentLoad
from workbench.load.prefix_cache import WARN_FRACTION, PrefixCounters, prefix_counters, prefix_share
from workbench.load.preflight import Dialect, ServerProblem, known_dialect
from workbench.load.probe import described, probe
from workbench.load.process import LoadProcess
from workbench.load.prompts import drawn_nonce, open_tokenizer
from workbench.load.records import records
from workbench.load.request_record import RequestRecord
from workbench.load.rows import KeptRequest, LoadSamples, PrefixHits
from workbench.load.schedule import n_left_out, schedule, trace_of
from workbench.load.spec import LoadSpec
from workbench.load.structure import is_valid
from workbench.load.summary import client_health, summary
from workbench.measuring.envelope import Record
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.gpu_source import GpuSource
from workbench.telemetry.host_source import HostSource, listening_on
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import Sampler, Source

CALIBRATION_S = 3.0
CALIBRATION_TOKENS_PER_S = 10_000
OWN_NAMES = {"localhost", "127.0.0.1", "::1"}


def measure(spec: LoadSpec, record: Record) -> Iterator[Progress]:
    """Yield progress about four times a second, with the requests that ended since.

    A server that cannot be measured gives a run without requests, with the cause among its failures. Ctrl-C stops the load; what was measured
    until then is kept, and the result says when it was stopped.
    """
    total = spec.duration_s + (CALIBRATION_S if spec.calibrate else 0.0)
    with LoadProcess() as process:
        try:
            dialect = known_dialect(spec)
        except ServerProblem as problem:
            record.samples = LoadSamples()
            record.failures.append(Failure.of(problem))
            return
        calibration = None
        if spec.calibrate:
            yield Progress(step=gettext_noop("calibrating the client against the mock server"), done=0.0, total=total)
            calibration = calibrate(spec, process)
        server = asked = None
        if spec.probe:
            yield Progress(step=gettext_noop("asking the server alone"), done=0.0, total=total)
            server, asked = described(spec), probe(spec)
        before = prefix_counters(spec)
        sampler = sampler_for(spec, process.pid) if spec.telemetry_hz else None
        fixed = replace(spec, nonce=drawn_nonce() if spec.nonce is None else spec.nonce)
        with sampler or nullcontext():
            sent = yield from _sent(fixed, dialect, process, total)
        after = prefix_counters(spec)
    requests = _records(spec, sent)
    trace = trace_of(spec)
    health = client_health(requests, sent, calibration=calibration)
    answers = summary(
        spec,
        requests,
        health,
        _prefix(before, after, requests),
        n_left_out=n_left_out(spec, trace),
        clock_step_s=sent.clock_step_s,
    )
    record.device = chosen_device("auto")
    record.rows.append(
        replace(
            answers,
            dropped_fields=dialect.without,
            notes=(*dialect.notes, *(trace.notes if trace else ())),
            stopped_after_s=sent.stopped_after_s,
            nonce=fixed.nonce,
        )
    )
    record.failures += failures_of(requests)
    record.samples = LoadSamples(
        requests=[KeptRequest.of(r) for r in requests],
        started_monotonic_s=sent.started_monotonic_s,
        server=server,
        probe=asked,
        telemetry=None if sampler is None else sampler.sampled(),
    )


def _sent(spec: LoadSpec, dialect: Dialect, process: LoadProcess, total: float) -> Generator[Progress, None, SentLoad]:
    """Yield the progress of a load and return what was sent, also where it is stopped by Ctrl-C."""
    offset = total - spec.duration_s
    messages = process.messages(spec, dialect=dialect)
    for message in messages:
        if isinstance(message, SentLoad):
            return message
        step = f"{message.n_finished} of {message.n_sent} requests answered, {message.n_failed} failed"
        done = offset + min(max(message.elapsed_s, 0.0), spec.duration_s)
        try:
            yield Progress(step=step, done=done, total=total, result=message)
        except KeyboardInterrupt:
            process.stop()
    raise AssertionError("the last message is what was sent")


def sampler_for(spec: LoadSpec, client_pid: int) -> Sampler:
    """Return a sampler of this machine, the process that sends, the GPUs, and the server's counters once a second."""
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


def _records(spec: LoadSpec, sent: SentLoad) -> list[RequestRecord]:
    found = records(sent.requests, open_tokenizer(spec.tokenizer))
    if not spec.is_structured:
        return found
    checked = zip(found, sent.requests, strict=True)
    return [replace(r, is_valid=is_valid(spec, request)) if r.ok else r for r, request in checked]


def calibrate(spec: LoadSpec, process: LoadProcess) -> tuple[float, float]:
    """Return the seconds that the client adds to TTFT p99 and ITL p99 of the mock server at the request rate of the load.

    It comes before the load, by the process that will send it on the cores that it will have. The mock sends as many tokens per request.
    """
    settings = MockSettings(ttft_s=0.02, itl_s=0.01)
    tokens = max(2, min(spec.output_tokens, int(CALIBRATION_S / 3 / settings.itl_s)))
    planned = schedule(spec)
    if planned.due_s is None:
        rate = (spec.concurrency or 1) / (settings.ttft_s + tokens * settings.itl_s)
        rate = min(rate, CALIBRATION_TOKENS_PER_S / tokens)  # how fast the server will be is not known yet
    else:
        rate = max(spec.end_rate_per_s or 0.0, len(planned.due_s) / spec.duration_s)
    with MockProcess(settings) as mock:
        short = LoadSpec(
            url=mock.url,
            model=settings.model,
            rate_per_s=max(rate, 5.0),
            duration_s=min(CALIBRATION_S, max(1.0, 2000 / rate)),
            input_tokens=min(spec.input_tokens, 4096),
            output_tokens=tokens,
            api_key_env="",
            timeout_s=30.0,
            seed=spec.seed,
        )
        (result,) = [message for message in process.messages(short) if isinstance(message, SentLoad)]
        truth = mock.truth()
    return errors_against(truth, result)


def errors_against(truth: Mapping[str, Truth], sent: SentLoad) -> tuple[float, float]:
    """Return reported minus true p99 of TTFT and of the gaps between tokens, seconds.

    The true TTFT runs from the moment of sending to the server's write, on one monotonic clock.
    """
    by_index = {int(key.rpartition("-")[2]): row for key, row in truth.items() if "-" in key}
    ttft, true_ttft, gaps, true_gaps = [], [], [], []
    for request in sent.requests:
        true = by_index.get(request.index)
        if true is None or request.sent_s is None or not request.chunk_s or not true.writes_s:
            continue
        ttft.append(request.chunk_s[0] - request.sent_s)
        true_ttft.append(true.writes_s[0] - sent.started_monotonic_s - request.sent_s)
        gaps.append(np.diff(request.chunk_s))
        true_gaps.append(np.diff(true.writes_s))
    if not ttft:
        return float("inf"), float("inf")

    def p99(values: Sequence[float] | npt.NDArray[np.float64]) -> float:
        return float(np.quantile(values, 0.99))

    itl = p99(np.concatenate(gaps)) - p99(np.concatenate(true_gaps)) if any(g.size for g in gaps) else 0.0
    return p99(ttft) - p99(true_ttft), itl


def _prefix(
    before: PrefixCounters | None, after: PrefixCounters | None, requests: Sequence[RequestRecord]
) -> PrefixHits:
    share, source = prefix_share(before, after, requests)
    warning = (
        f"{share or 0.0:.1%} of the prompt tokens came from the server's prefix cache: TTFT is shorter than without it."
    )
    return PrefixHits(
        hit_fraction=share,
        warning=warning if share and share > WARN_FRACTION else None,
        counters_found=before is not None,
        source=source,
    )


def failures_of(requests: Sequence[RequestRecord]) -> list[Failure]:
    """Return the causes of failed requests, the most frequent first."""
    by_cause = Counter(r.error or "no answer" for r in requests if not r.ok and not r.is_cancelled)
    remedy = "They count as SLO misses; see the server's log."
    return [
        Failure(cause=f"{n} of {len(requests)} requests failed: {cause}.", remedy=remedy)
        for cause, n in by_cause.most_common(10)
    ]
