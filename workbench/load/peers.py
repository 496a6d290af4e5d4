"""Result files of other load generators as our requests, so that they stand beside ours in the same words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.core.errors import StoreError
from workbench.core.load import RequestRecord

AIPERF_REQUESTS = "profile_export.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """What another tool measured."""

    tool: str
    model: str
    date: str
    records: tuple[RequestRecord, ...]
    settings: Mapping[str, Any]
    """What the file says of the load: rate, cap, number of prompts."""
    has_gaps: bool = True
    """Whether the gaps between tokens are in the file; if not, a record has the first and the last one only."""


def read_peer(path: Path) -> PeerResult | None:
    """The result of another tool; None when the file is none of theirs.

    Known: ``vllm bench serve --save-result --save-detailed`` (0.32), ``guidellm run --output kind=json`` (0.8), and
    AIPerf's folder, ``profile_export.jsonl`` or ``profile_export_aiperf.json`` (0.13).

    Raises:
        StoreError: a file of theirs that does not hold single requests.
    """
    if path.is_dir():
        path = path / AIPERF_REQUESTS
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    data = _json(text)
    if data is None:
        first = _json(text.partition("\n")[0])
        return read_aiperf(path) if first and {"metadata", "metrics"} <= set(first) else None
    if {"model_id", "num_prompts", "completed"} <= set(data):
        return read_vllm_bench(data)
    if "aiperf_version" in data:
        return read_aiperf(path.parent / AIPERF_REQUESTS)
    if "benchmarks" in data and "guidellm_version" in (data.get("metadata") or {}):
        return read_guidellm(data)
    return read_aiperf(path) if {"metadata", "metrics"} <= set(data) and path.suffix == ".jsonl" else None


def _json(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def read_vllm_bench(data: Mapping[str, Any]) -> PeerResult:
    """A document of ``vllm bench serve``.

    Its ``ttfts`` run from sending; ``queue_times`` is the wait at its concurrency cap, so due times can be had.
    An empty role chunk counts as first token there (vLLM 0.32), and a chunk as one token between two gaps.

    Raises:
        StoreError: it holds no single requests.
    """
    needed = ("start_times", "ttfts", "itls", "output_lens", "errors")
    if any(name not in data for name in needed):
        raise StoreError("The file holds no single requests.", remedy="Run vllm bench serve with --save-detailed.")
    start = min(data["start_times"], default=0.0)
    settings = {k: data.get(k) for k in ("backend", "num_prompts", "request_rate", "burstiness", "max_concurrency")}
    return PeerResult(
        tool="vllm bench serve",
        model=str(data["model_id"]),
        date=_iso(str(data.get("date", ""))),
        records=tuple(_vllm_record(data, i, start) for i in range(len(data["start_times"]))),
        settings=settings,
    )


def read_guidellm(data: Mapping[str, Any]) -> PeerResult:
    """A document of ``guidellm run``; the first of its benchmarks.

    It keeps the first and the last token of a request, not the gaps. The time at which a request should have started
    is on another clock there (0.8.1), so requests count as due when they were sent.

    Raises:
        StoreError: it holds no single requests.
    """
    benchmark = data["benchmarks"][0] if data["benchmarks"] else {}
    groups = benchmark.get("requests") or {}
    rows = [r for name in ("successful", "errored", "incomplete") for r in groups.get(name) or []]
    if not rows:
        raise StoreError("The file holds no single requests.", remedy="Run guidellm without a sample size of 0.")
    rows = [r for r in rows if r["info"]["timings"]["request_start"] is not None]
    rows.sort(key=lambda r: float(r["info"]["timings"]["request_start"]))
    start = rows[0]["info"]["timings"]["request_start"]
    strategy = benchmark["config"]["strategy"]
    body = (_json(next((r["request_args"] for r in rows if r.get("request_args")), "{}")) or {}).get("body") or {}
    return PeerResult(
        tool=f"guidellm {data['metadata']['guidellm_version']}",
        model=str(body.get("model") or "not recorded"),
        date=_utc(start),
        records=tuple(_guidellm_record(r, i, start) for i, r in enumerate(rows)),
        settings={"strategy": strategy.get("type_"), "request_rate": strategy.get("rate")},
        has_gaps=False,
    )


def _guidellm_record(row: Mapping[str, Any], index: int, start: float) -> RequestRecord:
    times = row["info"]["timings"]
    sent = times["request_start"] - start
    first, last = times.get("first_token_iteration"), times.get("last_token_iteration")
    n_output = int(row.get("output_tokens") or 0)
    error = str(row["info"].get("error") or "").strip().splitlines()[:1]
    failed = row["info"]["status"] != "completed"
    chunks = tuple(dict.fromkeys(t - start for t in (first, last) if t is not None)) if not failed else ()
    end = times.get("request_end") or times.get("resolve_end") or times["request_start"]
    return RequestRecord(
        index=index,
        due_s=sent,
        sent_s=sent,
        input_tokens=int(row.get("prompt_tokens") or 0),
        max_output_tokens=n_output,
        chunk_s=chunks,
        chunk_tokens=(1, n_output - 1) if len(chunks) == 2 and n_output > 1 else None,
        first_event_s=chunks[0] if chunks else None,
        end_s=end - start,
        output_tokens=n_output,
        token_source="usage",  # noqa: S106 - counts tokens, opens nothing
        usage_input_tokens=row.get("prompt_tokens"),
        error=(error[0][:300] if error else row["info"]["status"]) if failed else None,
    )


def read_aiperf(path: Path) -> PeerResult:
    """The requests that AIPerf exports; the model and the rate come from ``profile_export_aiperf.json`` beside it.

    A request is due when its credit was issued, which is after a wait at the concurrency cap (0.13).

    Raises:
        StoreError: no requests, or a line that cannot be read.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        rows.sort(key=lambda r: int(r["metadata"]["request_start_ns"]))
        start = min(r["metadata"]["credit_issued_ns"] or r["metadata"]["request_start_ns"] for r in rows)
        records = tuple(_aiperf_record(r, i, start) for i, r in enumerate(rows))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path.name} is not what AIPerf exports: {error}.", remedy=f"Name the folder with {AIPERF_REQUESTS}."
        ) from error
    summary = path.parent / "profile_export_aiperf.json"
    about = (_json(summary.read_text(encoding="utf-8")) or {}) if summary.exists() else {}
    config = about.get("input_config") or {}
    models = (config.get("models") or {}).get("items") or [{}]
    phase = (config.get("phases") or [{}])[-1]
    return PeerResult(
        tool=f"AIPerf {about.get('aiperf_version', '')}".strip(),
        model=str(models[0].get("name") or "not recorded"),
        date=_utc(start / 1e9),
        records=records,
        settings={"strategy": phase.get("type"), "request_rate": phase.get("rate")},
    )


def _aiperf_record(row: Mapping[str, Any], index: int, start_ns: int) -> RequestRecord:
    about, metrics = row["metadata"], row["metrics"]

    def seconds(name: str) -> float:
        return float(about[name] - start_ns) / 1e9

    def metric(name: str) -> Any:
        return (metrics.get(name) or {}).get("value")

    sent = seconds("request_start_ns")
    failure = row.get("error")
    chunks: list[float] = []
    if not failure and metric("time_to_first_token") is not None:
        chunks = [sent + metric("time_to_first_token") / 1e3]
        for gap_ms in metric("inter_chunk_latency") or []:
            chunks.append(chunks[-1] + gap_ms / 1e3)
    n_output = int(metric("output_sequence_length") or 0)
    n_input = metric("input_sequence_length") or metric("error_isl") or 0
    return RequestRecord(
        index=index,
        due_s=seconds("credit_issued_ns") if about.get("credit_issued_ns") else sent,
        sent_s=sent,
        input_tokens=int(n_input),
        max_output_tokens=n_output,
        chunk_s=tuple(chunks),
        first_event_s=chunks[0] if chunks else None,
        end_s=seconds("request_end_ns"),
        output_tokens=n_output,
        token_source="tokenizer",  # noqa: S106 - counts tokens, opens nothing
        usage_input_tokens=int(n_input),
        error=str(failure.get("message") or failure.get("type"))[:300] if failure else None,
    )


def _utc(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds")


def _vllm_record(data: Mapping[str, Any], i: int, start: float) -> RequestRecord:
    sent = data["start_times"][i] - start
    queue = data["queue_times"][i] if i < len(data.get("queue_times") or []) else 0.0
    error = str(data["errors"][i]).strip().splitlines()[-1:] or [""]
    chunks: list[float] = []
    if not error[0]:
        at = sent + data["ttfts"][i]
        chunks = [at]
        for gap in data["itls"][i]:
            at += gap
            chunks.append(at)
    latency = data["latencies"][i] if i < len(data.get("latencies") or []) else None
    end = sent + latency if latency else (chunks[-1] if chunks else sent)
    return RequestRecord(
        index=i,
        due_s=sent - queue,
        sent_s=sent,
        input_tokens=data["input_lens"][i],
        max_output_tokens=data["output_lens"][i],
        chunk_s=tuple(chunks),
        first_event_s=chunks[0] if chunks else None,
        end_s=end,
        output_tokens=data["output_lens"][i],
        token_source="usage",  # noqa: S106 - counts tokens, opens nothing
        usage_input_tokens=data["input_lens"][i],
        error=error[0][:300] or None,
    )


def _iso(stamp: str) -> str:
    """A stamp such as 20261122-215939, local time, as ISO 8601 without a zone."""
    if len(stamp) != 15:
        return stamp
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[9:11]}:{stamp[11:13]}:{stamp[13:]}"
