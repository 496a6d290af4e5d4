"""``vllm bench serve`` and SGLang's ``bench_serving``: one list a quantity, one place in it a request."""

from datetime import datetime
from itertools import accumulate

import msgspec

from workbench.core.errors import StoreError
from workbench.core.rows import Failure
from workbench.load.peers.result import (
    NOT_RECORDED,
    PeerResult,
    converted,
    error_text,
    known,
    names,
    require_equal_lengths,
    settings,
    with_streaming,
)
from workbench.load.request_record import RequestRecord

VLLM, SGLANG = "vllm bench serve", "sglang.bench_serving"
VLLM_FIELDS = {"model_id", "num_prompts", "completed"}
SGLANG_FIELDS = {"backend", "dataset_name", "completed", "mean_e2e_latency_ms"}
COMPLETE = {
    VLLM: "Run vllm bench serve with --save-result --save-detailed.",
    SGLANG: "Run python -m sglang.bench_serving with --output-details.",
}
NO_STARTS = "The file has no start times: latencies count from sending, and nothing is known of their course in time."
NEWER = {
    VLLM: "Run a newer vllm bench serve with --save-detailed; start_times came with vLLM's pull request 32667.",
    SGLANG: "Its releases do not write them; measure with workbench load where the course in time matters.",
}


class _Bench(msgspec.Struct, kw_only=True):
    model_id: str = NOT_RECORDED
    date: str = ""
    backend: str | None = None
    dataset_name: str | None = None
    num_prompts: int | None = None
    request_rate: float | str | None = None
    burstiness: float | None = None
    max_concurrency: int | None = None
    duration: float | None = None
    start_times: list[float] | None = None
    ttfts: list[float] | None = None
    itls: list[list[float]] | None = None
    input_lens: list[int] | None = None
    output_lens: list[int] | None = None
    errors: list[str | None] | None = None
    queue_times: list[float] | None = None
    latencies: list[float] | None = None


def is_bench(document: object) -> bool:
    """Return whether one of the two tools wrote a document."""
    found = names(document)
    return found >= VLLM_FIELDS or found >= SGLANG_FIELDS


def read_bench(document: object) -> PeerResult:
    """Return the result in one document; a file has one for each run that was appended to it.

    ``ttfts`` run from sending; ``queue_times`` is the wait at the concurrency cap, so due times can be had.
    An empty role chunk counts as first token in vLLM 0.32, and a chunk as one token between two gaps.
    vLLM before ``start_times`` and SGLang do not tell when a request was sent.

    Raises:
        StoreError: It holds no single requests, or lists that do not match.
    """
    tool = VLLM if names(document) >= VLLM_FIELDS else SGLANG
    data = converted(document, _Bench, tool)
    columns = {n: getattr(data, n) for n in ("ttfts", "itls", "input_lens", "output_lens", "errors")}
    if any(values is None for values in columns.values()):
        raise StoreError("The file holds totals only, no single requests.", remedy=COMPLETE[tool])
    optional = {n: getattr(data, n) for n in ("start_times", "queue_times", "latencies")}
    require_equal_lengths(columns | {n: v for n, v in optional.items() if v is not None}, tool)
    streamed = any(data.itls or ()) or not any(n > 1 for n in data.output_lens or ())
    start = min(data.start_times, default=0.0) if data.start_times else 0.0
    records = tuple(_record(data, i, start, streamed=streamed) for i in range(len(data.ttfts or ())))
    records, lacks = with_streaming(records, tool, "without --disable-stream")
    if data.start_times is None:
        lacks += (Failure(cause=NO_STARTS, remedy=NEWER[tool]),)
    return PeerResult(
        tool=tool,
        model=data.model_id,
        date=_iso(data.date),
        records=records,
        settings=settings(
            backend=data.backend,
            dataset=data.dataset_name,
            num_prompts=data.num_prompts,
            request_rate=data.request_rate,
            burstiness=data.burstiness,
            max_concurrency=data.max_concurrency,
        ),
        has_times=data.start_times is not None,
        duration_s=data.duration,
        lacks=lacks,
    )


def _record(data: _Bench, i: int, start: float, *, streamed: bool) -> RequestRecord:
    assert data.ttfts is not None
    assert data.itls is not None
    assert data.input_lens is not None
    assert data.output_lens is not None
    assert data.errors is not None
    sent = data.start_times[i] - start if data.start_times else 0.0
    first = known(data.ttfts[i])
    failure = error_text(data.errors[i], otherwise="", last_line=True) or None
    arrivals = tuple(accumulate((sent + first, *data.itls[i]))) if not failure and first else ()
    latency = known(data.latencies[i]) if data.latencies else None
    if failure is None and not arrivals:
        failure = "no token came"
    return RequestRecord(
        index=i,
        due_s=sent - (data.queue_times[i] if data.queue_times else 0.0),
        sent_s=sent,
        input_tokens=data.input_lens[i],
        max_output_tokens=data.output_lens[i],
        chunk_s=arrivals if streamed else (),
        first_event_s=arrivals[0] if arrivals and streamed else None,
        end_s=sent + latency if latency else (arrivals[-1] if arrivals else sent),
        output_tokens=data.output_lens[i],
        token_source="usage",  # noqa: S106 - counts tokens, opens nothing
        usage_input_tokens=data.input_lens[i],
        error=failure,
        is_streamed=streamed,
    )


def _iso(stamp: str) -> str:
    """Return a stamp such as 20261122-215939, local time, as ISO 8601 without a zone."""
    try:
        return datetime.fromisoformat(stamp.replace("-", "T")).isoformat() if len(stamp) == 15 else stamp
    except ValueError:
        return ""
