"""What an engine sweep says under any promise: attainment from the raw requests, the best engine, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.core.engine_sweep import EngineResult, EngineSweepSpec, Trial, engine_label
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.load.summary import keeps_promises, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What users were promised."""

    ttft_s: float
    tpot_s: float
    attainment_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineVerdict:
    """One sentence that answers, what it stands on, and what speaks against it."""

    best: str | None
    headline: str
    evidence: str
    objection: str


def promise_of(run: Run) -> Promise:
    """The promise that a sweep was searched under."""
    spec = EngineSweepSpec.from_dict(run.spec)
    return Promise(ttft_s=spec.slo_ttft_s, tpot_s=spec.slo_tpot_s, attainment_fraction=spec.attainment_fraction)


def results_under(run: Run, promise: Promise) -> list[EngineResult]:
    """The results with attainment and goodput counted anew under another promise, from the stored requests."""
    results = [EngineResult.from_dict(row) for row in run.results]
    return [
        replace(
            r,
            trials=tuple(
                _under(t, run.samples.get(r.engine, {}).get(f"{t.rate_per_s:.6g}"), promise)
                for t in sorted(r.trials, key=lambda t: t.rate_per_s)
            ),
        )
        for r in results
    ]


def _under(trial: Trial, requests: Sequence[Mapping[str, Any]] | None, promise: Promise) -> Trial:
    if not requests:
        return trial
    good = sum(keeps_promises(r, ttft_s=promise.ttft_s, tpot_s=promise.tpot_s) for r in requests)
    share = good / len(requests)
    before = trial.attainment_fraction
    rate = trial.good_per_s / before * share if before else share * trial.rate_per_s
    return replace(trial, attainment_fraction=share, attainment_interval=wilson(good, len(requests)), good_per_s=rate)


def good_tokens_per_s(trial: Trial) -> float:
    """Output tokens of good requests per second."""
    return trial.output_tokens_per_s * trial.attainment_fraction


def usd_per_million_good_tokens(trial: Trial, *, usd_per_hour: float) -> float | None:
    """Price of a million output tokens of good requests when the machine is loaded as in the trial."""
    tokens = good_tokens_per_s(trial)
    return usd_per_hour / 3600 / tokens * 1e6 if tokens > 0 else None


def engine_verdict(run: Run, promise: Promise) -> EngineVerdict:
    """The engine that sustains the highest rate within the promise."""
    results = results_under(run, promise)
    sustained = {r.engine: t for r in results if (t := r.best(promise.attainment_fraction))}
    words = (
        f"TTFT up to {shown_duration(promise.ttft_s)} and {shown_duration(promise.tpot_s)} per token "
        f"for {promise.attainment_fraction:.0%} of the requests"
    )
    if not sustained:
        return EngineVerdict(
            best=None,
            headline="No engine keeps this promise at any rate that was tried.",
            evidence=f"Asked for: {words}.",
            objection="Lower rates were not tried: loosen the promise, or run again from a lower first rate.",
        )
    order = sorted(sustained, key=lambda e: sustained[e].rate_per_s, reverse=True)
    best, trial = order[0], sustained[order[0]]
    headline = f"{engine_label(best)}: {three_digits(trial.rate_per_s)} requests/s within the promise"
    if len(order) > 1:
        ratio = trial.rate_per_s / sustained[order[1]].rate_per_s
        headline += (
            f", {ratio:.1f} times {engine_label(order[1])}" if ratio > 1.01 else f", as {engine_label(order[1])}"
        )
    low, high = trial.attainment_interval
    evidence = (
        f"{trial.attainment_fraction:.0%} [{low:.0%}, {high:.0%}] of {trial.n_requests} requests were good "
        f"({words}); p50 TTFT {shown_duration(trial.ttft_p50_s or 0)}."
    )
    return EngineVerdict(
        best=best, headline=headline + ".", evidence=evidence, objection=_objection(results, best, trial)
    )


def _objection(results: Sequence[EngineResult], best: str, trial: Trial) -> str:
    result = next(r for r in results if r.engine == best)
    higher = [t.rate_per_s for t in result.trials if t.rate_per_s > trial.rate_per_s]
    if not higher:
        return "its limit was not reached: no higher rate was tried."
    if trial.client != "good":
        return f"the load generator was {trial.client} at this rate: it shared the processor with the server."
    limit = f"the next rate tried, {three_digits(min(higher))}/s, broke the promise, so the limit lies between the two"
    if not result.startup_s or not result.memory_bytes:
        return limit + "."
    return f"{limit}; and it takes {shown_duration(result.startup_s)} to start and {shown_bytes(result.memory_bytes)}."
