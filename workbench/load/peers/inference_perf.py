"""inference-perf: a list of requests in ``per_request_lifecycle_metrics.json``."""

from collections import Counter
from pathlib import Path

import msgspec

from workbench.core.errors import StoreError
from workbench.load.peers.documents import documents_in
from workbench.load.peers.result import NOT_RECORDED, PeerResult, converted, error_text, names, two_ends, with_streaming
from workbench.load.request_record import RequestRecord

TOOL = "inference-perf"
REQUESTS = "per_request_lifecycle_metrics.json"
COMPLETE = f"Run inference-perf with report.request_lifecycle.per_request: true and name its {REQUESTS}."


class _Usage(msgspec.Struct, kw_only=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Response(msgspec.Struct, kw_only=True):
    output_tokens: int = 0
    server_usage: _Usage | None = None
    output_token_times: list[float] | None = None
    chunk_times: list[float] | None = None


class _Text(msgspec.Struct, kw_only=True):
    input_tokens: int = 0


class _Input(msgspec.Struct, kw_only=True):
    text: _Text = msgspec.field(default_factory=_Text)


class _Info(msgspec.Struct, kw_only=True):
    """What is known of a request: ``response_metrics`` in newer versions, the other fields until 0.3."""

    input_tokens: int | None = None
    request_metrics: _Input = msgspec.field(default_factory=_Input)
    response_metrics: _Response | None = None
    output_tokens: int = 0
    output_token_times: list[float] | None = None


class _Error(msgspec.Struct, kw_only=True):
    error_type: str = ""
    error_msg: str = ""


class _Request(msgspec.Struct, kw_only=True):
    start_time: float
    end_time: float
    request: object = None
    info: _Info | None = None
    error: _Error | None = None


class _Asked(msgspec.Struct, kw_only=True):
    model: str | None = None


def is_inference_perf(document: object) -> bool:
    """Return whether a document is the list of requests."""
    return isinstance(document, list) and bool(document) and names(document[0]) >= {"start_time", "end_time", "info"}


def is_inference_perf_totals(document: object) -> bool:
    """Return whether a document is a summary of a stage or of the whole load."""
    return names(document) >= {"load_summary", "successes", "failures"}


def read_inference_perf_totals(path: Path) -> PeerResult:
    """Return the load whose totals a file holds, from the requests beside it.

    Raises:
        StoreError: There are none.
    """
    file = path.with_name(REQUESTS)
    found = documents_in(file) if file.exists() else None
    if not found or not is_inference_perf(found[0]):
        raise StoreError(f"{path.name} holds totals only, and {REQUESTS} is not beside it.", remedy=COMPLETE)
    return read_inference_perf(found[0])


def read_inference_perf(document: object) -> PeerResult:
    """Return the requests of a list; all stages together, because it does not tell which one a request belongs to.

    The time at which a request was scheduled is not in it, so requests count as due when they were sent. Until 0.3
    the times of tokens include events without text: there the first and the last one are kept only.
    """
    rows = sorted(converted(document, list[_Request], TOOL), key=lambda r: r.start_time)
    start = rows[0].start_time
    records = tuple(_record(r, i, start) for i, r in enumerate(rows))
    records, lacks = with_streaming(records, TOOL, "with api.streaming: true")
    return PeerResult(
        tool=TOOL,
        model=next((m for r in rows if (m := _model(r))), None) or NOT_RECORDED,
        records=records,
        has_gaps=any(r.info and r.info.response_metrics for r in rows),
        lacks=lacks,
    )


def _model(row: _Request) -> str | None:
    try:
        asked = msgspec.json.decode(row.request, type=_Asked) if isinstance(row.request, str) else None
    except msgspec.DecodeError:
        return None
    return asked.model if asked else None


def _record(row: _Request, index: int, start: float) -> RequestRecord:
    sent, end, info = row.start_time - start, row.end_time - start, row.info or _Info()
    reply = info.response_metrics or _Response(output_tokens=info.output_tokens)
    usage = reply.server_usage or _Usage()
    n_output = usage.completion_tokens or reply.output_tokens
    arrivals: tuple[float, ...] = ()
    per_chunk: tuple[int, ...] | None = None
    if info.response_metrics is None and info.output_token_times:
        first, last = info.output_token_times[0] - start, info.output_token_times[-1] - start
        arrivals, per_chunk = two_ends(first, last, n_output)
    elif reply.output_token_times:
        per_time = Counter(t - start for t in reply.output_token_times)  # tokens of one chunk have one time
        arrivals, per_chunk = tuple(per_time), tuple(per_time.values())
    elif reply.chunk_times:
        arrivals, per_chunk = two_ends(reply.chunk_times[0] - start, reply.chunk_times[-1] - start, n_output)
    failure = None
    if row.error:
        failure = error_text(f"{row.error.error_type}: {row.error.error_msg}", otherwise=NOT_RECORDED)
    n_input = usage.prompt_tokens or info.input_tokens or info.request_metrics.text.input_tokens
    return RequestRecord(
        index=index,
        due_s=sent,
        sent_s=sent,
        input_tokens=n_input,
        max_output_tokens=n_output,
        chunk_s=() if failure else arrivals,
        chunk_tokens=None if failure else per_chunk,
        first_event_s=arrivals[0] if arrivals else None,
        end_s=end,
        output_tokens=n_output,
        token_source="usage" if usage.completion_tokens else "tokenizer",
        usage_input_tokens=n_input,
        error=failure,
        is_streamed=bool(arrivals) or failure is not None,
    )
