"""guidellm: one document with a benchmark for each rate of a sweep, in the form of 0.2 and 0.3 or of 0.4 and later."""

from collections.abc import Iterator, Mapping

import msgspec

from workbench.core.errors import StoreError
from workbench.load.peers.result import (
    NOT_RECORDED,
    PeerResult,
    converted,
    error_text,
    known,
    names,
    settings,
    two_ends,
    utc,
    with_streaming,
)
from workbench.load.request_record import CANCELLED, RequestRecord

TOOL = "guidellm"
SCHEDULED = {"constant", "poisson"}
"""Strategies in which a request is due at a time of its own, not when another one ends."""
COMPLETE = "Run guidellm without a sample of its requests (--output-sampling until 0.3, --sample-requests until 0.6)."


class _Strategy(msgspec.Struct, kw_only=True):
    type_: str | None = None
    rate: float | None = None
    streams: int | None = None
    max_concurrency: int | None = None


class _Config(msgspec.Struct, kw_only=True):
    strategy: _Strategy = msgspec.field(default_factory=_Strategy)


class _Timings(msgspec.Struct, kw_only=True):
    resolve_start: float | None = None
    request_start: float | None = None
    first_token_iteration: float | None = None
    first_iteration: float | None = None
    last_token_iteration: float | None = None
    last_iteration: float | None = None
    request_end: float | None = None
    resolve_end: float | None = None


class _Info(msgspec.Struct, kw_only=True):
    status: str
    timings: _Timings = msgspec.field(default_factory=_Timings)
    error: str | None = None


class _SchedulerInfo(msgspec.Struct, kw_only=True):
    """What 0.2 and 0.3 keep in place of ``info``; a time that is not known is -1."""

    targeted_start_time: float = -1.0
    errored: bool = False
    canceled: bool = False


class _Request(msgspec.Struct, kw_only=True):
    info: _Info | None = None
    request_args: str | dict[str, object] | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    scheduler_info: _SchedulerInfo = msgspec.field(default_factory=_SchedulerInfo)
    start_time: float | None = None
    end_time: float | None = None
    first_token_time: float | None = None
    last_token_time: float | None = None
    error: str | None = None


class _Groups(msgspec.Struct, kw_only=True):
    successful: list[_Request] | None = None
    errored: list[_Request] | None = None
    incomplete: list[_Request] | None = None


class _Totals(msgspec.Struct, kw_only=True):
    successful: int | None = None
    errored: int | None = None
    incomplete: int | None = None


class _Metrics(msgspec.Struct, kw_only=True):
    request_totals: _Totals = msgspec.field(default_factory=_Totals)


class _Worker(msgspec.Struct, kw_only=True):
    backend_model: str | None = None


class _Benchmark(msgspec.Struct, kw_only=True):
    config: _Config | None = None
    args: _Config = msgspec.field(default_factory=_Config)
    worker: _Worker = msgspec.field(default_factory=_Worker)
    requests: _Groups | None = None
    metrics: _Metrics = msgspec.field(default_factory=_Metrics)
    request_totals: _Totals = msgspec.field(default_factory=_Totals)
    start_time: float | None = None


class _Metadata(msgspec.Struct, kw_only=True):
    guidellm_version: str | None = None


class _Arguments(msgspec.Struct, kw_only=True):
    model: str | None = None


class _Document(msgspec.Struct, kw_only=True):
    benchmarks: list[_Benchmark]
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    args: _Arguments | None = None


class _Body(msgspec.Struct, kw_only=True):
    model: str | None = None


class _RequestArguments(msgspec.Struct, kw_only=True):
    body: _Body = msgspec.field(default_factory=_Body)


def is_guidellm(document: object) -> bool:
    """Return whether guidellm wrote a document: it names its version, or its benchmarks name their kind."""
    if not isinstance(document, Mapping) or not isinstance(document.get("benchmarks"), list):
        return False
    if document.get("metadata") and "guidellm_version" in names(document["metadata"]):
        return True
    return any(isinstance(b, Mapping) and b.get("type_") == "generative_benchmark" for b in document["benchmarks"])


def read_guidellm(document: object) -> tuple[PeerResult, ...]:
    """Return each benchmark of a document.

    It keeps the first and the last token of a request, not the gaps. The time at which a request should have started
    is on another clock since 0.4 (0.8.1), so requests count as due when they were sent; 0.2 and 0.3 tell it.

    Raises:
        StoreError: A benchmark without single requests, or with a part of them only.
    """
    data = converted(document, _Document, TOOL)
    if not data.benchmarks:
        raise StoreError(
            "The file holds no benchmark.", remedy="Run guidellm again until its first benchmark has ended."
        )
    version = data.metadata.guidellm_version
    tool = f"{TOOL} {version}" if version else TOOL
    fallback = data.args.model if data.args else None
    return tuple(_result(b, tool, fallback, i, len(data.benchmarks)) for i, b in enumerate(data.benchmarks, start=1))


def _result(benchmark: _Benchmark, tool: str, model: str | None, number: int, n: int) -> PeerResult:
    groups = benchmark.requests or _Groups()
    strategy = (benchmark.config or benchmark.args).strategy
    requests = [
        (r, name)
        for name, group in (("ok", groups.successful), ("failed", groups.errored), ("cancelled", groups.incomplete))
        for r in group or ()
    ]
    _check_whole(benchmark, len(requests), f"Benchmark {number} of {n}" if n > 1 else "The file")
    start = min((at for r, _ in requests if (at := _start(r)) is not None), default=benchmark.start_time or 0.0)
    requests.sort(key=lambda pair: _start(pair[0]) or start)
    records = tuple(_record(r, i, start, outcome=name, strategy=strategy) for i, (r, name) in enumerate(requests))
    records, lacks = with_streaming(records, TOOL, "with streaming, which is its default")
    return PeerResult(
        tool=tool,
        model=next(_models(requests), None) or benchmark.worker.backend_model or model or NOT_RECORDED,
        date=utc(start) if start else "",
        records=records,
        settings=settings(
            strategy=strategy.type_,
            request_rate=strategy.rate,
            concurrency=strategy.streams,
            max_concurrency=strategy.max_concurrency,
            benchmark=f"{number} of {n}",
        ),
        has_gaps=False,
        lacks=lacks,
    )


def _check_whole(benchmark: _Benchmark, n_found: int, place: str) -> None:
    for totals in (benchmark.request_totals, benchmark.metrics.request_totals):
        n_made = sum(filter(None, (totals.successful, totals.errored, totals.incomplete)))
        if n_found < n_made:
            cause = f"{place} keeps {n_found:,} of {n_made:,} requests, so rates and percentiles cannot be had."
            raise StoreError(cause, remedy=COMPLETE)
    if not n_found:
        raise StoreError(f"{place} holds no single requests.", remedy=COMPLETE)


def _models(requests: list[tuple[_Request, str]]) -> Iterator[str]:
    for request, _ in requests:
        arguments = request.request_args
        if isinstance(arguments, str):
            try:
                arguments = msgspec.json.decode(arguments, type=dict[str, object])
            except msgspec.DecodeError:
                continue
        if arguments and (model := converted(arguments, _RequestArguments, TOOL).body.model):
            yield model


def _start(row: _Request) -> float | None:
    """Return when a request was sent, or when it failed before that."""
    if row.info:
        return known(row.info.timings.request_start) or known(row.info.timings.resolve_start)
    return known(row.start_time)


def _times(row: _Request) -> tuple[float | None, float | None, float | None, float | None]:
    """Return when a request was sent, and when its first token, its last token and its end came."""
    if row.info is None:
        times = (row.start_time, row.first_token_time, row.last_token_time, row.end_time)
    else:
        t = row.info.timings
        first, last = t.first_token_iteration or t.first_iteration, t.last_token_iteration or t.last_iteration
        times = (t.request_start, first, last, t.request_end or t.resolve_end)
    sent, first, last, end = (known(s) or None for s in times)
    return sent, first, last, end


def _record(row: _Request, index: int, start: float, *, outcome: str, strategy: _Strategy) -> RequestRecord:
    (sent, first, last, end), n_output = _times(row), row.output_tokens or 0
    if row.info and row.info.status in {"errored", "cancelled"}:
        outcome = "failed" if row.info.status == "errored" else "cancelled"
    ok, began = outcome == "ok", sent if sent is not None else (_start(row) or start)
    targeted = row.scheduler_info.targeted_start_time
    due = targeted if strategy.type_ in SCHEDULED and 0 < targeted <= began else began
    streamed = not ok or first is not None
    arrivals, per_chunk = two_ends(first - start, (last or first) - start, n_output) if ok and first else ((), None)
    text = error_text(row.info.error if row.info else row.error, otherwise="not recorded")
    return RequestRecord(
        index=index,
        due_s=due - start,
        sent_s=None if sent is None else sent - start,
        input_tokens=row.prompt_tokens or 0,
        max_output_tokens=n_output,
        chunk_s=arrivals,
        chunk_tokens=per_chunk,
        first_event_s=arrivals[0] if arrivals else None,
        end_s=None if end is None else end - start,
        output_tokens=n_output,
        token_source="usage",  # noqa: S106 - counts tokens, opens nothing
        usage_input_tokens=row.prompt_tokens,
        error={"failed": text, "cancelled": CANCELLED}.get(outcome),
        is_streamed=streamed,
    )
