"""The answers of a load: latencies, rates, goodput, and whether the client can be trusted."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt

from workbench.core.dependent import share_with_dependence
from workbench.load.latency import Floats, distribution
from workbench.load.messages import SentLoad
from workbench.load.request_record import RequestRecord
from workbench.load.rows import (
    ClientHealth,
    Counts,
    Distribution,
    Goodput,
    LoadResult,
    Origins,
    PrefixHits,
    Rates,
    SteadyGoodput,
    SteadyPart,
    Tokens,
    ValidAnswers,
)
from workbench.load.spec import LoadSpec
from workbench.load.steady import SteadyState, steady_state
from workbench.load.warnings import warnings

GOOD_SHARE, DOUBTFUL_SHARE, ALWAYS_GOOD_S = 0.05, 0.2, 0.002


def summary(
    spec: LoadSpec,
    records: Sequence[RequestRecord],
    health: ClientHealth | None,
    prefix_cache: PrefixHits,
    *,
    n_left_out: int = 0,
    clock_step_s: float = 0.0,
) -> LoadResult:
    """Return the answers of a load.

    Args:
        spec: The load.
        records: Its requests.
        health: Of the load generator.
        prefix_cache: What the server's cache answered.
        n_left_out: Requests of a trace that come after the end of the load.
        clock_step_s: How much more the wall clock moved than the monotonic one.
    """
    ordered = sorted(records, key=lambda r: (r.due_s, r.index))
    steady = steady_state(ordered)
    window = [r for r in ordered if r.due_s >= steady.start_s]
    rules: Counter[str] = Counter(found[1] for r in ordered if (found := r.tokens_after_first))
    return LoadResult(
        **latencies(ordered),
        counts=counts(ordered),
        rates=rates(ordered),
        goodput=goodput(spec, ordered),
        token_source=Counter(r.token_source for r in ordered if r.ok),
        tokens=tokens(ordered),
        steady_state=_steady(spec, window, steady),
        client_health=health,
        prefix_cache=prefix_cache,
        warnings=warnings(
            spec, ordered, health=health, prefix_cache=prefix_cache, n_left_out=n_left_out, clock_step_s=clock_step_s
        ),
        tpot_rule=rules,
        valid_answers=_valid(ordered) if spec.is_structured else None,
    )


def _valid(records: Sequence[RequestRecord]) -> ValidAnswers:
    answered = [r for r in records if r.ok]
    valid = sum(bool(r.is_valid) for r in answered)
    share = valid / len(answered) if answered else None
    return ValidAnswers(valid=valid, answered=len(answered), valid_fraction=share)


class _Latencies(TypedDict):
    ttft_s: Origins
    e2e_s: Origins
    tpot_s: Origins
    itl_s: Origins
    queued_at_client_s: Distribution
    connect_s: Distribution
    tail_s: Distribution | None


def latencies(ordered: Sequence[RequestRecord]) -> _Latencies:
    """Return the fields of ``Latencies`` for requests in the order in which they were due."""
    due, sent, connect, first, end = (
        np.array([getattr(r, name) for r in ordered], dtype=np.float64)  # NaN: it did not come to that
        for name in ("due_s", "sent_s", "connect_s", "first_content_s", "end_s")
    )
    failed, no_token = np.array([not r.ok for r in ordered], dtype=bool), np.isnan(first)
    first_or_end = np.where(no_token & np.array([r.is_streamed for r in ordered], dtype=bool), end, first)

    def since(stop: Floats, hidden: npt.NDArray[np.bool_]) -> Origins:
        return Origins(from_due=_span(due, stop, hidden), from_sent=_span(sent, stop, hidden))

    tpot = distribution(np.array([r.tpot_s for r in ordered if r.tpot_s is not None]))
    gaps = [np.diff(r.chunk_s) for r in ordered if len(r.chunk_s) > 1 and r.is_streamed]
    groups = np.repeat(np.arange(len(gaps), dtype=np.float64), [g.size for g in gaps]) if gaps else np.array([])
    itl = distribution(np.concatenate(gaps) if gaps else np.array([]), groups=groups if gaps else None)
    queued = np.maximum(0.0, sent - connect - due)
    tails = np.array([r.tail_s for r in ordered if r.ok])
    return {
        "ttft_s": since(first_or_end, no_token),
        "e2e_s": since(end, failed),
        "tpot_s": Origins(from_due=tpot, from_sent=tpot),
        "itl_s": Origins(from_due=itl, from_sent=itl),
        "queued_at_client_s": distribution(queued[~np.isnan(queued)]),
        "connect_s": distribution(connect[connect > 0]),
        "tail_s": distribution(tails),
    }


def _span(start: Floats, stop: Floats, hidden: npt.NDArray[np.bool_]) -> Distribution:
    """Return the distribution of what lies between two moments of each request, where both are known."""
    seconds = stop - start
    known = ~np.isnan(seconds)
    return distribution(seconds[known], censored=hidden[known])


def counts(records: Sequence[RequestRecord]) -> Counts:
    """Return how many requests were due, sent, answered and failed, and why."""
    errors = Counter(r.error for r in records if r.error and not r.is_cancelled)
    return Counts(
        due=len(records),
        sent=sum(r.sent_s is not None for r in records),
        ok=sum(r.ok for r in records),
        failed=sum(not r.ok and not r.is_cancelled for r in records),
        errors=dict(errors.most_common(10)),
        cancelled=sum(r.is_cancelled for r in records),
    )


def rates(records: Sequence[RequestRecord]) -> Rates | None:
    """Return requests and tokens per second; None where nothing was due."""
    if not records:
        return None
    begin = min(r.due_s for r in records)
    last_due = max(r.due_s for r in records)
    end = max((r.end_s for r in records if r.end_s is not None), default=last_due)
    span, arrivals = max(end - begin, 1e-9), max(last_due - begin, 1e-9)
    sent = [r.sent_s for r in records if r.sent_s is not None]
    ok = [r for r in records if r.ok]
    return Rates(
        offered_per_s=(len(records) - 1) / arrivals if len(records) > 1 else None,
        sent_per_s=(len(sent) - 1) / (max(sent) - min(sent)) if len(sent) > 1 and max(sent) > min(sent) else None,
        completed_per_s=len(ok) / span,
        output_tokens_per_s=sum(r.output_tokens for r in ok) / span,
        input_tokens_per_s=sum(r.usage_input_tokens or r.input_tokens for r in ok) / span,
        span_s=span,
    )


def tokens(records: Sequence[RequestRecord]) -> Tokens:
    """Return the tokens that were asked for and counted."""
    ok = [r for r in records if r.ok]
    asked = [r.usage_input_tokens for r in ok if r.usage_input_tokens is not None]
    return Tokens(
        output=sum(r.output_tokens for r in ok),
        output_asked=sum(r.max_output_tokens for r in ok),
        mean_output_per_request=float(np.mean([r.output_tokens for r in ok])) if ok else None,
        mean_input_per_request=float(np.mean(asked)) if asked else None,
        input_source="usage" if asked else "asked for",
    )


def meets_slo(spec: LoadSpec, r: RequestRecord) -> bool:
    """Return whether a request met the SLO, counted from when it was due."""
    if not r.ok:
        return False
    if r.first_content_s is None:
        return spec.slo_ttft_s is None and spec.slo_tpot_s is None
    if spec.slo_ttft_s is not None and r.first_content_s - r.due_s > spec.slo_ttft_s:
        return False
    return spec.slo_tpot_s is None or r.tpot_s is None or r.tpot_s <= spec.slo_tpot_s


def goodput(spec: LoadSpec, records: Sequence[RequestRecord]) -> Goodput | None:
    """Return SLO attainment and goodput; failed and timed out requests are misses, those that a stop cut off are neither.

    None where nothing was due.
    """
    span = rates(records)
    if span is None:
        return None
    counted = [r for r in records if not r.is_cancelled]
    if not counted:
        return None
    hits = [meets_slo(spec, r) for r in counted]
    ttft = [r.first_content_s - r.due_s if r.first_content_s is not None else math.nan for r in counted]
    interval, n_independent = attainment(hits, ttft)
    return Goodput(
        slo_ttft_s=spec.slo_ttft_s,
        slo_tpot_s=spec.slo_tpot_s,
        good=sum(hits),
        attainment_fraction=sum(hits) / len(hits),
        attainment_interval=interval,
        n_independent=n_independent,
        good_per_s=sum(hits) / span.span_s,
    )


def attainment(hits: Sequence[bool], ttft_s: Sequence[float]) -> tuple[tuple[float, float], float]:
    """Return the 95 % interval of the SLO attainment, and how many independent requests tell as much.

    Requests that waited in one queue meet or miss the SLO together, so that an interval for independent ones is too narrow.

    Args:
        hits: Whether each request met the SLO, in the order in which they were due.
        ttft_s: Of each of them; NaN where no token came.
    """
    met, waited = np.asarray(hits, dtype=np.float64), np.asarray(ttft_s, dtype=np.float64)
    waited = np.nan_to_num(waited, nan=float(np.nanmax(waited)) if np.isfinite(waited).any() else 0.0)
    share = share_with_dependence(met, waited)
    return (share.low, share.high), share.n_independent


def _steady(spec: LoadSpec, window: Sequence[RequestRecord], steady: SteadyState) -> SteadyPart:
    return SteadyPart(
        start_s=steady.start_s,
        end_s=steady.end_s,
        n_cut=steady.n_cut,
        output_tokens_per_s=token_rate(window, steady.start_s, steady.end_s),
        **latencies(window),
        goodput=_steady_goodput(spec, window, steady),
    )


def _steady_goodput(spec: LoadSpec, window: Sequence[RequestRecord], steady: SteadyState) -> SteadyGoodput | None:
    """Return the goodput of answers that ended inside the steady part: neither filling up nor running empty counts."""
    whole = goodput(spec, window)
    if whole is None:
        return None
    length = steady.end_s - steady.start_s
    inside = [r for r in window if r.ok and r.end_s is not None and r.end_s <= steady.end_s]
    # From the first of these ends on: before it, requests that are not in this part still ended.
    first = min((r.end_s for r in inside if r.end_s is not None), default=steady.start_s)
    span = steady.end_s - first
    if len(inside) < 2 or length <= 0 or span <= 0:
        completed, good = len(inside) / length if length > 0 else 0.0, 0.0
    else:
        completed = (len(inside) - 1) / span
        good = sum(meets_slo(spec, r) for r in inside) / len(inside) * completed
    return SteadyGoodput(
        slo_ttft_s=whole.slo_ttft_s,
        slo_tpot_s=whole.slo_tpot_s,
        good=whole.good,
        attainment_fraction=whole.attainment_fraction,
        attainment_interval=whole.attainment_interval,
        n_independent=whole.n_independent,
        good_per_s=good,
        completed_per_s=completed,
    )


def token_rate(records: Sequence[RequestRecord], start_s: float, end_s: float) -> float | None:
    """Return the tokens per second that arrived between two moments; chunks on both ends are cut exactly."""
    if end_s <= start_s:
        return None
    total = 0.0
    for r in records:
        if r.ok and not r.chunk_s and r.end_s is not None and start_s <= r.end_s <= end_s:
            total += r.output_tokens
        per_chunk = r.chunk_tokens or (r.output_tokens / max(1, len(r.chunk_s)),) * len(r.chunk_s)
        total += sum(n for at, n in zip(r.chunk_s, per_chunk, strict=True) if start_s <= at <= end_s)
    return total / (end_s - start_s)


def client_health(
    records: Sequence[RequestRecord], sent: SentLoad, *, calibration: tuple[float, float] | None
) -> ClientHealth:
    """Return whether the load generator was the bottleneck of a load.

    Args:
        records: Its requests.
        sent: What the sending process says of them and of itself.
        calibration: Errors of TTFT p99 and ITL p99 against the mock server at the same rate, seconds.
    """
    lag = max(0.0, float(np.quantile(sent.lag_s, 0.99))) if sent.lag_s else 0.0
    queued = {request.index: request.queued_s for request in sent.requests}
    late = [r.sent_s - r.due_s - r.connect_s - queued[r.index] for r in records if r.sent_s is not None]
    lateness = max(0.0, float(np.quantile(late, 0.99))) if late else 0.0
    ttft = [r.first_content_s - r.sent_s for r in records if r.first_content_s is not None and r.sent_s is not None]
    gaps = [np.diff(r.chunk_s) for r in records if len(r.chunk_s) > 1 and r.is_streamed]
    ttft_error, gap_error = calibration or (0.0, 0.0)
    figures = [
        _judged(
            "TTFT p99", ttft, {"requests leave late by": lateness, LAGS: lag, "a known TTFT p99 grows by": ttft_error}
        ),
        _judged("ITL p99", np.concatenate(gaps) if gaps else [], {LAGS: lag, "a known ITL p99 grows by": gap_error}),
    ]
    worst = max(figures, key=lambda f: (VERDICTS.index(f.verdict), f.share))
    is_bound = worst.verdict == "client-bound"
    return ClientHealth(
        verdict=worst.verdict,
        reason=f"the client is the bottleneck: {worst.text}" if is_bound else worst.text,
        loop_lag_p99_s=lag,
        send_lateness_p99_s=lateness,
        cpu_fraction=sent.cpu_fraction,
        calibration_ttft_p99_error_s=calibration[0] if calibration else None,
        calibration_itl_p99_error_s=calibration[1] if calibration else None,
        figures={f.name: f.share for f in figures if math.isfinite(f.share)},
    )


LAGS = "the event loop lags by"
Judgement = Literal["good", "doubtful", "client-bound"]
VERDICTS: tuple[Judgement, ...] = ("good", "doubtful", "client-bound")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """How much of a figure may be the client's."""

    name: str
    share: float
    text: str
    verdict: Judgement


def _judged(name: str, seconds: Sequence[float] | Floats, errors: Mapping[str, float]) -> _Judged:
    """Return the largest of the client's errors over the p99 of what was measured."""
    measured = float(np.quantile(seconds, 0.99)) if len(seconds) else math.inf
    cause, error = max(errors.items(), key=lambda item: item[1])
    share = error / measured if measured > 0 else 0.0  # chunks that all came at once have no gaps to be judged
    verdict: Judgement = "client-bound" if share > DOUBTFUL_SHARE else "doubtful" if share > GOOD_SHARE else "good"
    if error <= ALWAYS_GOOD_S:
        verdict = "good"
    return _Judged(
        name=name,
        share=share,
        verdict=verdict,
        text=f"at p99 {cause} {error * 1e3:.1f} ms, {share:.0%} of the measured {name}",
    )
