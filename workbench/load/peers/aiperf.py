"""AIPerf: one line a request in ``profile_export.jsonl``, what was asked for beside it."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import msgspec

from workbench.core.errors import StoreError
from workbench.load.peers.documents import documents_in
from workbench.load.peers.result import (
    NOT_RECORDED,
    PeerResult,
    converted,
    error_text,
    names,
    settings,
    two_ends,
    utc,
    with_streaming,
)
from workbench.load.request_record import CANCELLED, RequestRecord

TOOL = "AIPerf"
REQUESTS, TOTALS = "profile_export.jsonl", "profile_export_aiperf.json"
COMPLETE = f"Run aiperf profile with --export-level records, which is its default, and name its folder or {REQUESTS}."
PROFILING = "profiling"


class _RequestTimes(msgspec.Struct, kw_only=True):
    request_start_ns: int
    request_end_ns: int
    credit_issued_ns: int | None = None
    benchmark_phase: str = PROFILING
    was_cancelled: bool = False


class _Metric(msgspec.Struct, kw_only=True):
    value: float | None = None


class _Metrics(msgspec.Struct, kw_only=True):
    value: list[float] | None = None


class _RequestMetrics(msgspec.Struct, kw_only=True):
    time_to_first_token: _Metric = msgspec.field(default_factory=_Metric)
    inter_chunk_latency: _Metrics = msgspec.field(default_factory=_Metrics)
    inter_token_latency: _Metric = msgspec.field(default_factory=_Metric)
    request_latency: _Metric = msgspec.field(default_factory=_Metric)
    output_sequence_length: _Metric = msgspec.field(default_factory=_Metric)
    input_sequence_length: _Metric = msgspec.field(default_factory=_Metric)
    error_isl: _Metric = msgspec.field(default_factory=_Metric)


class _RequestError(msgspec.Struct, kw_only=True):
    message: str | None = None
    type: str | None = None


class _Request(msgspec.Struct, kw_only=True):
    metadata: _RequestTimes
    metrics: _RequestMetrics
    error: _RequestError | None = None


class _Item(msgspec.Struct, kw_only=True):
    name: str | None = None


class _Items(msgspec.Struct, kw_only=True):
    items: list[_Item] = msgspec.field(default_factory=list)


class _Phase(msgspec.Struct, kw_only=True):
    type: str | None = None
    rate: float | None = None
    concurrency: int | None = None


class _Endpoint(msgspec.Struct, kw_only=True):
    model_names: list[str] = msgspec.field(default_factory=list)


class _LoadGenerator(msgspec.Struct, kw_only=True):
    request_rate: float | None = None
    concurrency: int | None = None


class _Config(msgspec.Struct, kw_only=True):
    """What was asked for: ``models`` and ``phases`` in newer versions, ``endpoint`` and ``loadgen`` in older ones."""

    models: _Items = msgspec.field(default_factory=_Items)
    phases: list[_Phase] = msgspec.field(default_factory=list)
    endpoint: _Endpoint = msgspec.field(default_factory=_Endpoint)
    loadgen: _LoadGenerator = msgspec.field(default_factory=_LoadGenerator)


class _About(msgspec.Struct, kw_only=True):
    aiperf_version: str = ""
    input_config: _Config = msgspec.field(default_factory=_Config)


def is_aiperf_request(document: object) -> bool:
    """Return whether a document is a line of ``profile_export.jsonl``."""
    return names(document) >= {"metadata", "metrics"} and "benchmarks" not in names(document)


def is_aiperf_totals(document: object) -> bool:
    """Return whether a document is ``profile_export_aiperf.json``."""
    found = names(document)
    return "aiperf_version" in found or found >= {"input_config", "request_latency", "was_cancelled"}


def read_aiperf(path: Path, lines: Sequence[object] | None = None) -> PeerResult:
    """Return the requests beside a file of AIPerf; the model and the rate come from its totals in the same folder.

    A request is due when its credit was issued, which is after a wait at the concurrency cap (0.13). Requests of
    the warm-up are left out.

    Raises:
        StoreError: No requests, or a line that cannot be read.
    """
    if lines is None:
        file = path.parent / REQUESTS
        if not file.exists():
            raise StoreError(f"{path.name} holds totals only, and {REQUESTS} is not beside it.", remedy=COMPLETE)
        lines = documents_in(file) or ()
    rows = [converted(line, _Request, TOOL) for line in lines]
    rows = [r for r in rows if r.metadata.benchmark_phase == PROFILING]
    if not rows:
        raise StoreError(f"{REQUESTS} holds no requests.", remedy=COMPLETE)
    rows.sort(key=lambda r: r.metadata.request_start_ns)
    start = min(r.metadata.credit_issued_ns or r.metadata.request_start_ns for r in rows)
    totals = path.parent / TOTALS
    found = documents_in(totals) if totals.exists() else None
    about = converted(found[0], _About, TOOL) if found else _About()
    config = about.input_config
    phase = config.phases[-1] if config.phases else _Phase()
    model = config.models.items[0].name if config.models.items else next(iter(config.endpoint.model_names), None)
    records = tuple(_record(r, i, start) for i, r in enumerate(rows))
    records, lacks = with_streaming(records, TOOL, "with --streaming")
    return PeerResult(
        tool=f"{TOOL} {about.aiperf_version}".strip(),
        model=model or NOT_RECORDED,
        date=utc(start / 1e9),
        records=records,
        settings=settings(
            strategy=phase.type,
            request_rate=phase.rate or config.loadgen.request_rate,
            concurrency=phase.concurrency or config.loadgen.concurrency,
        ),
        has_gaps=any(r.metrics.inter_chunk_latency.value for r in rows),
        lacks=lacks,
    )


def _record(row: _Request, index: int, start_ns: int) -> RequestRecord:
    times, metrics, failure = row.metadata, row.metrics, row.error
    sent, first_ms = (times.request_start_ns - start_ns) / 1e9, metrics.time_to_first_token.value
    n_output = int(metrics.output_sequence_length.value or 0)
    n_input = int(metrics.input_sequence_length.value or metrics.error_isl.value or 0)
    ok = failure is None and not times.was_cancelled
    arrivals: tuple[float, ...] = ()
    per_chunk = None
    if ok and first_ms is not None:
        first, gaps = sent + first_ms / 1e3, metrics.inter_chunk_latency.value
        arrivals = tuple(accumulate((ms / 1e3 for ms in gaps or ()), initial=first))
        if not gaps and metrics.inter_token_latency.value is not None and n_output > 1:
            last = first + metrics.inter_token_latency.value / 1e3 * (n_output - 1)
            arrivals, per_chunk = two_ends(first, last, n_output)
    text = error_text(failure.message or failure.type, otherwise=NOT_RECORDED) if failure else None
    return RequestRecord(
        index=index,
        due_s=(times.credit_issued_ns - start_ns) / 1e9 if times.credit_issued_ns else sent,
        sent_s=sent,
        input_tokens=n_input,
        max_output_tokens=n_output,
        chunk_s=arrivals,
        chunk_tokens=per_chunk,
        first_event_s=arrivals[0] if arrivals else None,
        end_s=(times.request_end_ns - start_ns) / 1e9,
        output_tokens=n_output,
        token_source="tokenizer",  # noqa: S106 - counts tokens, opens nothing
        usage_input_tokens=n_input,
        error=CANCELLED if times.was_cancelled else text,
        is_streamed=not ok or bool(arrivals),
    )
