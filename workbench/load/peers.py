"""Result files of other load generators as our requests, so that they stand beside ours in the same words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.errors import StoreError
from workbench.core.load import RequestRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """What another tool measured."""

    tool: str
    model: str
    date: str
    records: tuple[RequestRecord, ...]
    settings: Mapping[str, Any]
    """What the file says of the load: rate, cap, number of prompts."""


def is_vllm_bench(data: Mapping[str, Any]) -> bool:
    """Whether a document comes from ``vllm bench serve --save-result``."""
    return {"model_id", "num_prompts", "completed"} <= set(data)


def read_vllm_bench(path: Path) -> PeerResult:
    """A file of ``vllm bench serve --save-result --save-detailed`` (format of vLLM 0.32.0).

    Its ``ttfts`` run from sending; ``queue_times`` is the wait at its concurrency cap, so due times can be had.
    An empty role chunk counts as first token there (vLLM 0.32), and a chunk as one token between two gaps.

    Raises:
        StoreError: another kind of file, or one without the single requests.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", remedy="Name a JSON file.") from error
    if not isinstance(data, dict) or not is_vllm_bench(data):
        raise StoreError(f"{path} is not a result of `vllm bench serve`.", remedy="Name a file of --save-result.")
    needed = ("start_times", "ttfts", "itls", "output_lens", "errors")
    if any(name not in data for name in needed):
        raise StoreError(f"{path} holds no single requests.", remedy="Run vllm bench serve with --save-detailed.")
    start = min(data["start_times"], default=0.0)
    settings = {k: data.get(k) for k in ("backend", "num_prompts", "request_rate", "burstiness", "max_concurrency")}
    return PeerResult(
        tool="vllm bench serve",
        model=str(data["model_id"]),
        date=_iso(str(data.get("date", ""))),
        records=tuple(_vllm_record(data, i, start) for i in range(len(data["start_times"]))),
        settings=settings,
    )


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
