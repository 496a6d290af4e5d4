"""llmperf: a list of requests in ``…_individual_responses.json``, the model in ``…_summary.json`` beside it."""

from pathlib import Path

import msgspec

from workbench.core.errors import StoreError
from workbench.core.rows import Failure
from workbench.load.peers.documents import documents_in
from workbench.load.peers.result import NOT_RECORDED, PeerResult, converted, error_text, names, settings, two_ends, utc
from workbench.load.request_record import RequestRecord

TOOL = "llmperf"
REQUESTS_END, TOTALS_END = "_individual_responses", "_summary"
COMPLETE = (
    "token_benchmark_ray.py --results-dir writes both files; name the one that ends in _individual_responses.json."
)


class _Request(msgspec.Struct, kw_only=True):
    end_to_end_latency_s: float
    ttft_s: float | None = None
    number_input_tokens: int | None = None
    number_output_tokens: int | None = None
    error_code: int | str | None = None
    error_msg: str | None = None


class _About(msgspec.Struct, kw_only=True):
    model: str = NOT_RECORDED
    timestamp: float | None = None
    num_concurrent_requests: int | None = None
    mean_input_tokens: float | None = None
    mean_output_tokens: float | None = None
    results_num_completed_requests: float | None = None
    results_num_completed_requests_per_min: float | None = None


def is_llmperf(document: object) -> bool:
    """Return whether a document is llmperf's list of requests."""
    return isinstance(document, list) and bool(document) and names(document[0]) >= {"end_to_end_latency_s", "ttft_s"}


def is_llmperf_totals(document: object) -> bool:
    """Return whether a document is llmperf's summary."""
    return any(name.startswith("results_ttft_s") or name == "results_num_requests_started" for name in names(document))


def read_llmperf_totals(path: Path) -> PeerResult:
    """Return the load whose totals a file holds, from the requests beside it.

    Raises:
        StoreError: There are none.
    """
    file = path.with_name(path.stem.removesuffix(TOTALS_END) + REQUESTS_END + path.suffix)
    found = documents_in(file) if file.exists() else None
    if not found or not is_llmperf(found[0]):
        raise StoreError(f"{path.name} holds totals only, and {file.name} is not beside it.", remedy=COMPLETE)
    return read_llmperf(file, found[0])


def read_llmperf(path: Path, document: object) -> PeerResult:
    """Return the requests of a list, in the order in which they ended; it does not tell when they were sent.

    Its ``inter_token_latency_s`` includes the time to the first token, so TPOT is taken from end and first token.
    Tokens are counted by its own tokenizer.
    """
    rows = converted(document, list[_Request], TOOL)
    totals = path.with_name(path.stem.removesuffix(REQUESTS_END) + TOTALS_END + path.suffix)
    found = documents_in(totals) if totals != path and totals.exists() else None
    about = converted(found[0], _About, TOOL) if found else _About()
    ended, per_minute = about.results_num_completed_requests, about.results_num_completed_requests_per_min
    return PeerResult(
        tool=TOOL,
        model=about.model,
        date=utc(about.timestamp) if about.timestamp else "",
        records=tuple(_record(r, i) for i, r in enumerate(rows)),
        settings=settings(
            concurrency=about.num_concurrent_requests,
            mean_input_tokens=about.mean_input_tokens,
            mean_output_tokens=about.mean_output_tokens,
        ),
        has_gaps=False,
        has_times=False,
        duration_s=ended / per_minute * 60 if ended and per_minute else None,
        lacks=(
            Failure(
                cause="The file has no start times and no gaps between tokens: latencies count from sending.",
                remedy="llmperf does not write them; measure with workbench load where the course in time matters.",
            ),
        ),
    )


def _record(row: _Request, index: int) -> RequestRecord:
    failed, n_output = row.error_code is not None, row.number_output_tokens or 0
    arrivals, per_chunk = two_ends(row.ttft_s, row.end_to_end_latency_s, n_output)
    if not row.ttft_s or failed:
        arrivals, per_chunk = (), None
    elif n_output < 2:
        arrivals = arrivals[:1]
    text = error_text(row.error_msg, otherwise=f"error {row.error_code}") if failed else None
    return RequestRecord(
        index=index,
        due_s=0.0,
        sent_s=0.0,
        input_tokens=row.number_input_tokens or 0,
        max_output_tokens=n_output,
        chunk_s=arrivals,
        chunk_tokens=per_chunk,
        first_event_s=arrivals[0] if arrivals else None,
        end_s=row.end_to_end_latency_s,
        output_tokens=n_output,
        token_source="tokenizer",  # noqa: S106 - counts tokens, opens nothing
        usage_input_tokens=row.number_input_tokens,
        error=text or (None if arrivals else "no token came"),
    )
