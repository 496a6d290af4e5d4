"""What a sweep says under any SLO: attainment from the raw requests, the best engine, and the rows of its tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workbench.core.language import gettext, ngettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, shown_p99, shown_percent, shown_usd, three_digits
from workbench.core.verdict import Verdict, objections, sentence
from workbench.load.rows import TimedRequest
from workbench.load.summary import attainment
from workbench.questions.engines.rows import NOT_COMPARABLE, EngineResult, Reach, SweepSamples, Trial
from workbench.questions.engines.spec import EngineSweepSpec, engine_label

QUESTION = 1
TIE = 1.01  # peaks closer than this are the same rate
RESULT_HEAD = (
    gettext("Engine {mark}").format(mark=Provenance.MEASURED.mark),
    gettext("peak request rate within the SLO"),
    gettext("SLO attainment at that rate"),
    gettext("USD / M good tokens {mark}").format(mark=Provenance.ESTIMATED.mark),
    gettext("TTFT p50 / p99"),
    gettext("TPOT p50"),
    gettext("good tokens/s"),
    gettext("start-up time"),
    gettext("memory"),
    gettext("version"),
)
STATUSES = {
    "measured": gettext("measured"),
    "not available": gettext("not available"),
    "failed": gettext("failed"),
}
CLIENTS = {"doubtful": gettext("doubtful"), "client-bound": gettext("client-bound")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Largest latencies of a request that meets the SLO, and the share of the requests that must meet it."""

    ttft_s: float
    tpot_s: float
    attainment_fraction: float


def slo_of(spec: EngineSweepSpec) -> Slo:
    """Return the SLO of a spec."""
    return Slo(ttft_s=spec.slo_ttft_s, tpot_s=spec.slo_tpot_s, attainment_fraction=spec.attainment_fraction)


def results_under(run: Run, slo: Slo) -> list[EngineResult]:
    """Return the results with attainment and goodput counted anew under another SLO, from the stored requests.

    Trials whose requests were not kept stand for the latencies of their own SLO only, and are left out under others.
    """
    samples, own = run.sampled(SweepSamples), slo_of(run.asked(EngineSweepSpec))
    is_own = (own.ttft_s, own.tpot_s) == (slo.ttft_s, slo.tpot_s)
    results = []
    for r in run.rows(EngineResult):
        kept = [(t, samples.of(r.engine, t)) for t in sorted(r.trials, key=lambda t: t.rate_per_s)]
        trials = tuple(_under(t, requests, slo) if requests else t for t, requests in kept if requests or is_own)
        if r.trials and not trials:
            reason = gettext("the requests of its trials were not kept, so that no other SLO can be counted")
            results.append(replace(r, status="not available", reason=reason, trials=()))
        else:
            results.append(replace(r, trials=trials))
    return results


def _under(trial: Trial, requests: Sequence[TimedRequest], slo: Slo) -> Trial:
    ordered = sorted((r for r in requests if not r.is_cancelled), key=lambda r: r.due_s)
    if not ordered:
        return trial
    hits = [r.meets(ttft_s=slo.ttft_s, tpot_s=slo.tpot_s) for r in ordered]
    waited = [math.nan if r.first_content_s is None else r.first_content_s - r.due_s for r in ordered]
    interval, share = attainment(hits, waited)[0], sum(hits) / len(hits)
    before = trial.attainment_fraction
    rate = trial.good_per_s / before * share if before else share * trial.rate_per_s
    return replace(trial, attainment_fraction=share, attainment_interval=interval, good_per_s=rate)


def good_tokens_per_s(trial: Trial) -> float:
    """Return the output tokens per second of requests that met the SLO."""
    return trial.output_tokens_per_s * trial.attainment_fraction


def usd_per_million_good_tokens(trial: Trial, *, usd_per_hour: float) -> float | None:
    """Return the price of a million output tokens of requests that met the SLO, at the load of the trial."""
    tokens = good_tokens_per_s(trial)
    return usd_per_hour / 3600 / tokens * 1e6 if tokens > 0 else None


def verdict(results: Sequence[EngineResult], slo: Slo) -> Verdict:
    """Return the engine that sustains the highest rate within the SLO.

    Args:
        results: Counted under this SLO.
        slo: That is to be met.
    """
    reaches = {r.engine: r.reach(slo.attainment_fraction) for r in results}
    reached = {engine: reach.peak for engine, reach in reaches.items() if reach.peak}
    sustained = {engine: t for engine, t in reached.items() if not t.not_comparable}
    unranked = {engine: t for engine, t in reached.items() if t.not_comparable}
    if unranked and sum(r.status == "measured" for r in results) > 1:
        return _partly_ranked(results, sustained, unranked, slo)
    if not reached:
        return _none_reached(results, reaches, slo)
    order = sorted(reached, key=lambda e: (reached[e].rate_per_s, reached[e].attainment_fraction), reverse=True)
    best, trial = order[0], reached[order[0]]
    return Verdict(
        headline=_headline(reaches[best], [(e, reached[e]) for e in order]),
        evidence=gettext("{share} of {n} requests met the SLO ({slo}); TTFT p50 was {ttft}.").format(
            share=_attained(trial), n=trial.n_requests, slo=_words(slo), ttft=shown_duration(trial.ttft_p50_s or None)
        ),
        objection=objections(_objections(results, reaches, order, slo), most=4),
        scope=_scope(results, best),
        best=best,
    )


def _headline(reach: Reach, ranked: Sequence[tuple[str, Trial]]) -> str:
    """Return how far the best engine meets the SLO, beside those that come after it."""
    (best, trial), *others = ranked
    text = (
        gettext("{engine} meets the SLO at {rate} requests/s")
        if reach.uncertain
        else gettext("{engine} meets the SLO up to {rate} requests/s")
    ).format(engine=engine_label(best), rate=three_digits(trial.rate_per_s))
    equal = [engine_label(e) for e, t in others if trial.rate_per_s <= TIE * t.rate_per_s]
    if equal:
        form = ngettext("{this}, as does {engines}.", "{this}, as do {engines}.", len(equal))
        return form.format(this=text, engines=gettext(" and ").join(equal))
    if others:
        engine, following = others[0]
        factor = f"{trial.rate_per_s / following.rate_per_s:.1f}"
        return gettext("{this}, {factor}x {engine}.").format(this=text, factor=factor, engine=engine_label(engine))
    return gettext("{this}.").format(this=text)


def _words(slo: Slo) -> str:
    share = f"{100 * slo.attainment_fraction:g} %"
    return gettext("TTFT up to {ttft} and TPOT up to {tpot} for {share} of the requests").format(
        ttft=shown_duration(slo.ttft_s), tpot=shown_duration(slo.tpot_s), share=share
    )


def _attained(trial: Trial) -> str:
    """Return the attainment of a trial with its interval."""
    low, high = trial.attainment_interval
    return f"{shown_percent(trial.attainment_fraction, 1)} [{shown_percent(low, 1)}, {shown_percent(high, 1)}]"


def _at(trial: Trial) -> str:
    return gettext("{attained} at {rate}/s").format(attained=_attained(trial), rate=three_digits(trial.rate_per_s))


def _none_reached(results: Sequence[EngineResult], reaches: Mapping[str, Reach], slo: Slo) -> Verdict:
    """Return that no engine meets the SLO at its lowest rates, which came nearest, and whether that is certain."""
    tried = [(t, r.engine) for r in results for t in r.trials]
    missing = _scope(results, None)
    if not tried:
        return Verdict(
            headline=gettext("No engine was measured."),
            evidence=missing or gettext("There are no results."),
            answer="open",
        )
    trial, engine = max(tried, key=lambda pair: pair[0].attainment_fraction)
    above = {e: r.beyond[-1] for e, r in reaches.items() if r.beyond}
    is_open = bool(above) or any(r.possible for r in reaches.values())
    headline = gettext("No engine meets this SLO at any rate that was tried.")
    points = []
    if above:
        which = gettext("; ").join(
            gettext("{engine} meets it at {rate}/s, but not at a lower rate").format(
                engine=engine_label(e), rate=three_digits(t.rate_per_s)
            )
            for e, t in above.items()
        )
        headline = gettext("No engine meets this SLO at all rates up to one: {which}.").format(which=which)
        points.append(gettext("the attainment is not monotone over the rate: measure these rates again, for longer"))
    elif is_open:
        headline = gettext("No engine is shown to meet this SLO at any rate that was tried.")
        points += [
            gettext("the interval of {engine} reaches the SLO at {rates}").format(
                engine=engine_label(e), rates=_rates(r.possible)
            )
            for e, r in reaches.items()
            if r.possible
        ]
    lowest = min(t.rate_per_s for t, _ in tried)
    points.append(gettext("rates below {rate}/s were not tried").format(rate=three_digits(lowest)))
    return Verdict(
        headline=headline,
        evidence=gettext("The SLO is {slo}. {engine} comes nearest: {attained}.").format(
            slo=_words(slo), engine=engine_label(engine), attained=_at(trial)
        ),
        objection=objections(points),
        scope=missing,
        answer="open" if is_open else "no",
    )


def _rates(trials: Sequence[Trial]) -> str:
    return gettext(", ").join(f"{three_digits(t.rate_per_s)}/s" for t in trials)


def _scope(results: Sequence[EngineResult], best: str | None) -> str | None:
    """Return what the best engine takes to start, and the engines without a measurement."""
    points = [
        gettext("{engine} was not measured: {reason}").format(
            engine=engine_label(r.engine), reason=r.reason or STATUSES[r.status]
        )
        for r in results
        if not r.trials
    ]
    for r in results:
        if r.engine == best and r.startup_s and r.memory_bytes:
            start, memory = shown_duration(r.startup_s), shown_bytes(r.memory_bytes)
            points.insert(
                0,
                gettext("{engine} takes {start} to start and {memory} of memory").format(
                    engine=engine_label(best), start=start, memory=memory
                ),
            )
    return sentence(points) if points else None


def _objections(
    results: Sequence[EngineResult], reaches: Mapping[str, Reach], order: Sequence[str], slo: Slo
) -> list[str]:
    """Return what speaks against the order of the engines, the strongest first."""
    asked, best, reach = slo.attainment_fraction, order[0], reaches[order[0]]
    trial = reach.peak
    assert trial is not None
    points = [w.text.rstrip(".") for w in trial.warnings if w.kind in {*NOT_COMPARABLE, "prefix-cache"}][:1]
    if trial.client != "good":
        points.append(
            gettext("the load generator was {state} at this rate, so latencies may be its own").format(
                state=CLIENTS.get(trial.client, trial.client)
            )
        )
    if reach.uncertain:
        points.append(
            gettext("the attainment is not monotone: only {trials}, which is uncertain").format(
                trials=gettext(" and ").join(map(_at, reach.uncertain))
            )
        )
    if trial.attainment_interval[0] < asked:
        points.append(
            gettext("the interval at {rate}/s reaches below {share} %").format(
                rate=three_digits(trial.rate_per_s), share=f"{100 * asked:g}"
            )
        )
    for e in order[1:]:
        if reaches[e].possible and reaches[e].possible[-1].rate_per_s > trial.rate_per_s / TIE:
            points.append(
                gettext("{engine} may meet the SLO at {rates} too").format(
                    engine=engine_label(e), rates=_rates(reaches[e].possible)
                )
            )
    for r in results:
        if reaches[r.engine].beyond:
            points.append(
                gettext("{engine} met the SLO at {rates}, above a rate that missed it").format(
                    engine=engine_label(r.engine), rates=_rates(reaches[r.engine].beyond)
                )
            )
    higher = [t for r in results if r.engine == best for t in r.trials if t.rate_per_s > trial.rate_per_s]
    if not higher:
        points.append(gettext("no higher rate was tried, so the peak may lie above"))
    else:
        following = min(higher, key=lambda t: t.rate_per_s)
        is_sure = following.surely_misses(asked)
        point = (
            gettext("the next rate tried missed the SLO ({attained}), so the peak lies between the two")
            if is_sure
            else gettext(
                "the next rate tried missed the SLO ({attained}), but its interval reaches it, so the peak may lie above"
            )
        )
        points.append(point.format(attained=_at(following)))
    return points


def _partly_ranked(
    results: Sequence[EngineResult], sustained: dict[str, Trial], unranked: dict[str, Trial], slo: Slo
) -> Verdict:
    """Return the verdict where the rates of some engines cannot be set beside those of others."""
    reasons = " ".join(
        gettext("{engine} is not ranked: {reason}").format(engine=engine_label(e), reason=t.not_comparable[0].text)
        for e, t in unranked.items()
    )
    tokens = gettext(", ").join(
        f"{engine_label(e)} {three_digits(t.output_tokens_per_s)}"
        for e, t in sorted({**sustained, **unranked}.items(), key=lambda item: -item[1].output_tokens_per_s)
    )
    by_tokens = gettext("Output tokens/s at the highest rate within the SLO: {tokens}.").format(tokens=tokens)
    if not sustained:
        return Verdict(
            headline=gettext("These engines cannot be ranked by requests/s: answers are not what was asked for."),
            evidence=f"{reasons} {by_tokens}",
            scope=gettext(
                "Make the servers stream, and answer with the full length (vLLM: ignore_eos), then measure again."
            ),
            answer="open",
        )
    ranked = verdict([r for r in results if r.engine not in unranked], slo)
    return replace(
        ranked, evidence=f"{ranked.evidence} {by_tokens}", objection=f"{reasons} {ranked.objection or ''}".strip()
    )


def warning_texts(results: Sequence[EngineResult]) -> list[str]:
    """Return the warnings of all trials, once for each engine and kind, with the rates that they are about."""
    found: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for result in results:
        for trial in result.trials:
            for warning in trial.warnings:
                found.setdefault((result.engine, warning.kind), []).append((trial.rate_per_s, warning.text))
    return [
        gettext("{engine}, {kind} at {rates}: {text}").format(
            engine=engine_label(engine),
            kind=kind,
            rates=gettext(", ").join(f"{three_digits(rate)}/s" for rate, _ in items),
            text=items[-1][1],
        )
        for (engine, kind), items in found.items()
    ]


def result_rows(results: Sequence[EngineResult], slo: Slo, *, usd_per_hour: float) -> list[tuple[str, ...]]:
    """Return the cells of ``RESULT_HEAD`` for each engine; an engine without trials has its reason in one cell."""
    return [
        _measured(r, r.best(slo.attainment_fraction), usd_per_hour)
        if r.status == "measured"
        else (
            engine_label(r.engine),
            gettext("{status}: {reason}").format(status=STATUSES[r.status], reason=r.reason or ""),
        )
        for r in results
    ]


def _measured(result: EngineResult, trial: Trial | None, usd_per_hour: float) -> tuple[str, ...]:
    server = (
        shown_duration(result.startup_s) if result.startup_s else "–",
        shown_bytes(result.memory_bytes) if result.memory_bytes else "–",
        result.version or "–",
    )
    if trial is None:
        return (engine_label(result.engine), gettext("none"), "–", "–", "–", "–", "–", *server)
    usd = usd_per_million_good_tokens(trial, usd_per_hour=usd_per_hour)
    p99 = shown_p99(trial.ttft_p99_s, n=trial.n_requests)
    is_top = trial.rate_per_s == max(t.rate_per_s for t in result.trials)
    return (
        engine_label(result.engine),
        (gettext("at least {rate}/s") if is_top else "{rate}/s").format(rate=three_digits(trial.rate_per_s)),
        gettext("{share} of {n}").format(share=_attained(trial), n=trial.n_requests),
        shown_usd(usd) if usd is not None else "–",
        f"{shown_duration(trial.ttft_p50_s or 0)} / {p99}",
        shown_duration(trial.tpot_p50_s or 0),
        three_digits(good_tokens_per_s(trial)),
        *server,
    )
