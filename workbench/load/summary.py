"""The answers of a load: latencies, rates, goodput, and whether the client can be trusted."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from workbench.core.load import ClientHealth, Distribution, LoadSpec, RequestRecord
from workbench.load.latency import distribution
from workbench.load.steady import SteadyState, steady_state

GOOD_SHARE, DOUBTFUL_SHARE, ALWAYS_GOOD_S = 0.05, 0.2, 0.002


def summary(spec: LoadSpec, records: Sequence[RequestRecord], health: ClientHealth) -> dict[str, Any]:
    """The documented JSON form of a load.

    ``ttft_s``, ``tpot_s``, ``itl_s`` and ``e2e_s`` hold ``from_due`` and ``from_sent``, each with mean, p50, p90,
    p99, n, n_censored and intervals; TPOT and ITL do not depend on the start and are the same in both.
    ``steady_state`` holds the same for the part after the warm-up.
    """
    ordered = sorted(records, key=lambda r: (r.due_s, r.index))
    steady = steady_state(ordered)
    window = [r for r in ordered if r.due_s >= steady.start_s]
    return {
        **latencies(ordered),
        "counts": counts(ordered),
        "rates": rates(ordered),
        "goodput": goodput(spec, ordered),
        "token_source": dict(Counter(r.token_source for r in ordered if r.ok)),
        "tokens": tokens(ordered),
        "steady_state": _steady(spec, window, steady),
        "client_health": asdict(health),
        "vocabulary": {
            "tpot_s": "guidellm: inter-token latency; AIPerf: inter token latency; vllm bench: TPOT",
            "itl_s": "AIPerf: inter chunk latency; vllm bench: ITL",
            "e2e_s from_due": "guidellm: request_scheduled_latency",
            "e2e_s from_sent": "guidellm: request_latency; AIPerf: request latency; vllm bench: E2EL",
        },
    }


def latencies(ordered: Sequence[RequestRecord]) -> dict[str, Any]:
    """The four latencies of requests in the order in which they were due."""
    out: dict[str, Any] = {}
    for name, end in (("ttft_s", _first), ("e2e_s", _end)):
        out[name] = {
            origin: asdict(_from(ordered, end, origin_of))
            for origin, origin_of in (("from_due", _due), ("from_sent", _sent))
        }
    tpot = np.array([r.tpot_s for r in ordered if r.tpot_s is not None])
    gaps = [np.diff(r.chunk_s) for r in ordered if len(r.chunk_s) > 1]
    groups = np.repeat(np.arange(len(gaps), dtype=np.float64), [g.size for g in gaps]) if gaps else np.array([])
    itl = distribution(np.concatenate(gaps) if gaps else np.array([]), groups=groups if gaps else None)
    for name, found in (("tpot_s", distribution(tpot)), ("itl_s", itl)):
        out[name] = {"from_due": asdict(found), "from_sent": asdict(found)}
    queued = np.array([max(0.0, r.sent_s - r.connect_s - r.due_s) for r in ordered if r.sent_s is not None])
    out["queued_at_client_s"] = asdict(distribution(queued))
    out["connect_s"] = asdict(distribution(np.array([r.connect_s for r in ordered if r.connect_s > 0])))
    return out


def _due(r: RequestRecord) -> float | None:
    return r.due_s


def _sent(r: RequestRecord) -> float | None:
    return r.sent_s


def _first(r: RequestRecord) -> tuple[float | None, bool]:
    return (r.first_content_s, False) if r.first_content_s is not None else (r.end_s, True)


def _end(r: RequestRecord) -> tuple[float | None, bool]:
    return r.end_s, not r.ok


def _from(ordered: Sequence[RequestRecord], end: Any, origin: Any) -> Distribution:
    seconds, censored = [], []
    for r in ordered:
        (stop, hidden), begin = end(r), origin(r)
        if stop is not None and begin is not None:
            seconds.append(stop - begin)
            censored.append(hidden)
    return distribution(np.array(seconds, dtype=np.float64), censored=np.array(censored, dtype=bool))


def counts(records: Sequence[RequestRecord]) -> dict[str, Any]:
    """How many were due, sent, answered and failed, and why."""
    errors = Counter(r.error for r in records if r.error)
    return {
        "due": len(records),
        "sent": sum(r.sent_s is not None for r in records),
        "ok": sum(r.ok for r in records),
        "failed": sum(not r.ok for r in records),
        "errors": dict(errors.most_common(10)),
    }


def rates(records: Sequence[RequestRecord]) -> dict[str, Any]:
    """Requests and tokens per second, from the first due time to the last end."""
    if not records:
        return {}
    begin = min(r.due_s for r in records)
    last_due = max(r.due_s for r in records)
    end = max((r.end_s for r in records if r.end_s is not None), default=last_due)
    span, arrivals = max(end - begin, 1e-9), max(last_due - begin, 1e-9)
    sent = [r.sent_s for r in records if r.sent_s is not None]
    ok = [r for r in records if r.ok]
    return {
        "offered_per_s": (len(records) - 1) / arrivals if len(records) > 1 else None,
        "sent_per_s": (len(sent) - 1) / (max(sent) - min(sent)) if len(sent) > 1 and max(sent) > min(sent) else None,
        "completed_per_s": len(ok) / span,
        "output_tokens_per_s": sum(r.output_tokens for r in ok) / span,
        "input_tokens_per_s": sum(r.usage_input_tokens or r.input_tokens for r in ok) / span,
        "span_s": span,
    }


def tokens(records: Sequence[RequestRecord]) -> dict[str, Any]:
    """Tokens asked for and counted."""
    ok = [r for r in records if r.ok]
    asked = [r.usage_input_tokens for r in ok if r.usage_input_tokens is not None]
    return {
        "output": sum(r.output_tokens for r in ok),
        "output_asked": sum(r.max_output_tokens for r in ok),
        "mean_output_per_request": float(np.mean([r.output_tokens for r in ok])) if ok else None,
        "mean_input_per_request": float(np.mean(asked)) if asked else None,
        "input_source": "usage" if asked else "asked for",
    }


def meets_slo(spec: LoadSpec, r: RequestRecord) -> bool:
    """Whether a request was answered within what users were promised, counted from when it was due."""
    if not r.ok or r.first_content_s is None:
        return False
    if spec.slo_ttft_s is not None and r.first_content_s - r.due_s > spec.slo_ttft_s:
        return False
    return spec.slo_tpot_s is None or r.tpot_s is None or r.tpot_s <= spec.slo_tpot_s


def keeps_promises(sample: Mapping[str, Any], *, ttft_s: float | None, tpot_s: float | None) -> bool:
    """The same for a request as runs keep it; a promise that is None was not made, failures keep none."""
    first = sample["first_content_s"]
    if sample["error"] or first is None:
        return False
    if ttft_s is not None and first - sample["due_s"] > ttft_s:
        return False
    n = sample["output_tokens"]
    return tpot_s is None or n < 2 or (sample["end_s"] - first) / (n - 1) <= tpot_s


def goodput(spec: LoadSpec, records: Sequence[RequestRecord]) -> dict[str, Any]:
    """Share and rate of requests that met the SLO; failures, timeouts and cancelled requests are misses."""
    if not records:
        return {}
    good, n = sum(meets_slo(spec, r) for r in records), len(records)
    low, high = wilson(good, n)
    span = rates(records)["span_s"]
    return {
        "slo_ttft_s": spec.slo_ttft_s,
        "slo_tpot_s": spec.slo_tpot_s,
        "good": good,
        "attainment_fraction": good / n,
        "attainment_interval": (low, high),
        "good_per_s": good / span,
    }


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _steady(spec: LoadSpec, window: Sequence[RequestRecord], steady: SteadyState) -> dict[str, Any]:
    return {
        "start_s": steady.start_s,
        "end_s": steady.end_s,
        "n_cut": steady.n_cut,
        "output_tokens_per_s": token_rate(window, steady.start_s, steady.end_s),
        **latencies(window),
        "goodput": goodput(spec, window) | _steady_rates(spec, window, steady),
    }


def _steady_rates(spec: LoadSpec, window: Sequence[RequestRecord], steady: SteadyState) -> dict[str, Any]:
    """Answers that ended inside the steady part, over its length: neither filling up nor running empty counts."""
    length = steady.end_s - steady.start_s
    inside = [r for r in window if r.ok and r.end_s is not None and r.end_s <= steady.end_s]
    # From the first of these ends on: before it, requests that are not in this part still ended.
    first = min((r.end_s for r in inside if r.end_s is not None), default=steady.start_s)
    span = steady.end_s - first
    if len(inside) < 2 or length <= 0 or span <= 0:
        return {"completed_per_s": len(inside) / length if length > 0 else 0.0, "good_per_s": 0.0}
    good = sum(meets_slo(spec, r) for r in inside)
    return {"completed_per_s": (len(inside) - 1) / span, "good_per_s": good / len(inside) * (len(inside) - 1) / span}


def token_rate(records: Sequence[RequestRecord], start_s: float, end_s: float) -> float | None:
    """Tokens that arrived between two moments, over their distance; chunks on both ends are cut exactly."""
    if end_s <= start_s:
        return None
    total = 0.0
    for r in records:
        per_chunk = r.chunk_tokens or (r.output_tokens / max(1, len(r.chunk_s)),) * len(r.chunk_s)
        total += sum(n for at, n in zip(r.chunk_s, per_chunk, strict=True) if start_s <= at <= end_s)
    return total / (end_s - start_s)


def client_health(
    records: Sequence[RequestRecord], result: Mapping[str, Any], *, calibration: tuple[float, float] | None
) -> ClientHealth:
    """Verdict on the client of a load.

    Args:
        records: Its requests.
        result: What the sending process said of itself: ``lag_s``, ``cpu_fraction`` and ``flights``.
        calibration: Errors of TTFT p99 and ITL p99 against the mock server at the same rate, seconds.
    """
    lag = float(np.quantile(result["lag_s"], 0.99)) if result["lag_s"] else 0.0
    queued = {row["index"]: row["queued_s"] for row in result["flights"]}
    late = [r.sent_s - r.due_s - r.connect_s - queued[r.index] for r in records if r.sent_s is not None]
    lateness = max(0.0, float(np.quantile(late, 0.99))) if late else 0.0
    found = ClientHealth(
        verdict="good",
        reason="",
        loop_lag_p99_s=max(0.0, lag),
        send_lateness_p99_s=lateness,
        cpu_fraction=result["cpu_fraction"],
        calibration_ttft_p99_error_s=calibration[0] if calibration else None,
        calibration_itl_p99_error_s=calibration[1] if calibration else None,
    )
    ttft = [r.first_content_s - r.sent_s for r in records if r.first_content_s is not None and r.sent_s is not None]
    measured = float(np.quantile(ttft, 0.99)) if ttft else math.inf
    parts = {"requests leave late by": lateness, "the event loop lags by": found.loop_lag_p99_s}
    if calibration:
        parts["a known TTFT p99 grows by"] = calibration[0]
    name, error = max(parts.items(), key=lambda item: item[1])
    share = error / measured
    text = f"{name} {error * 1e3:.1f} ms, {share:.0%} of the measured TTFT p99"
    if error <= ALWAYS_GOOD_S or share <= GOOD_SHARE:
        return replace(found, reason=f"at p99 {text}")
    if share <= DOUBTFUL_SHARE:
        return replace(found, verdict="doubtful", reason=f"at p99 {text}")
    return replace(found, verdict="client-bound", reason=f"the client is the bottleneck: at p99 {text}")
