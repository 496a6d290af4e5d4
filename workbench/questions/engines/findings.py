"""What a sweep says under any SLO: attainment from the raw requests, the best engine, and the rows of its tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workbench.catalog.tables import devices, engines, published_figures
from workbench.core.errors import NotAvailable
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, shown_p99, shown_percent, shown_usd, three_digits
from workbench.core.verdict import Verdict, objections, sentence
from workbench.engines.recipes import MAKERS, launch_recipe
from workbench.engines.serve_plan import ServePlan
from workbench.load.rows import TimedRequest
from workbench.load.summary import attainment
from workbench.questions.engines.rows import NOT_COMPARABLE, EngineResult, Reach, SweepSamples, Trial
from workbench.questions.engines.spec import Candidate, EngineSweepSpec, engine_label

QUESTION = 1
TIE = 1.01  # peaks closer than this are the same rate
RESULT_HEAD = (
    f"Engine {Provenance.MEASURED.mark}",
    "peak request rate within the SLO",
    "SLO attainment at that rate",
    f"USD / M good tokens {Provenance.ESTIMATED.mark}",
    "TTFT p50 / p99",
    "TPOT p50",
    "good tokens/s",
    "start-up time",
    "memory",
    "version",
)
PUBLISHED_HEAD = ("Engine", f"Published {Provenance.PUBLISHED.mark}", "under", "source")
FEATURE_HEAD = (
    "Engine", "version", "quantization", "parallelism", "multimodal", "hardware", "started", "get it", "source",
)  # fmt: skip


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
            reason = "the requests of its trials were not kept, so that no other SLO can be counted"
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
    how_far = "at" if reaches[best].uncertain else "up to"
    headline = f"{engine_label(best)} meets the SLO {how_far} {three_digits(trial.rate_per_s)} requests/s"
    equal = [e for e in order[1:] if trial.rate_per_s <= TIE * reached[e].rate_per_s]
    if equal:
        headline += f", as {'do' if len(equal) > 1 else 'does'} {' and '.join(map(engine_label, equal))}"
    elif len(order) > 1:
        headline += f", {trial.rate_per_s / reached[order[1]].rate_per_s:.1f}x {engine_label(order[1])}"
    return Verdict(
        headline=headline + ".",
        evidence=f"{_attained(trial)} of {trial.n_requests} requests met the SLO ({_words(slo)}); TTFT p50 was "
        f"{shown_duration(trial.ttft_p50_s or None)}.",
        objection=objections(_objections(results, reaches, order, slo), most=4),
        scope=_scope(results, best),
        best=best,
    )


def _words(slo: Slo) -> str:
    share = f"{100 * slo.attainment_fraction:g} %"
    return f"TTFT up to {shown_duration(slo.ttft_s)} and TPOT up to {shown_duration(slo.tpot_s)} for {share} of the requests"


def _attained(trial: Trial) -> str:
    """Return the attainment of a trial with its interval."""
    low, high = trial.attainment_interval
    return f"{shown_percent(trial.attainment_fraction, 1)} [{shown_percent(low, 1)}, {shown_percent(high, 1)}]"


def _at(trial: Trial) -> str:
    return f"{_attained(trial)} at {three_digits(trial.rate_per_s)}/s"


def _none_reached(results: Sequence[EngineResult], reaches: Mapping[str, Reach], slo: Slo) -> Verdict:
    """Return that no engine meets the SLO at its lowest rates, which came nearest, and whether that is certain."""
    tried = [(t, r.engine) for r in results for t in r.trials]
    missing = _scope(results, None)
    if not tried:
        return Verdict(headline="No engine was measured.", evidence=missing or "There are no results.", answer="open")
    trial, engine = max(tried, key=lambda pair: pair[0].attainment_fraction)
    above = {e: r.beyond[-1] for e, r in reaches.items() if r.beyond}
    is_open = bool(above) or any(r.possible for r in reaches.values())
    headline = "No engine meets this SLO at any rate that was tried."
    points = []
    if above:
        headline = (
            "No engine meets this SLO at all rates up to one: "
            + "; ".join(
                f"{engine_label(e)} meets it at {three_digits(t.rate_per_s)}/s, but not at a lower rate"
                for e, t in above.items()
            )
            + "."
        )
        points.append("the attainment is not monotone over the rate: measure these rates again, for longer")
    elif is_open:
        headline = "No engine is shown to meet this SLO at any rate that was tried."
        points += [
            f"the interval of {engine_label(e)} reaches the SLO at {_rates(r.possible)}"
            for e, r in reaches.items()
            if r.possible
        ]
    lowest = min(t.rate_per_s for t, _ in tried)
    points.append(f"rates below {three_digits(lowest)}/s were not tried")
    return Verdict(
        headline=headline,
        evidence=f"The SLO is {_words(slo)}. {engine_label(engine)} comes nearest: {_at(trial)}.",
        objection=objections(points),
        scope=missing,
        answer="open" if is_open else "no",
    )


def _rates(trials: Sequence[Trial]) -> str:
    return ", ".join(f"{three_digits(t.rate_per_s)}/s" for t in trials)


def _scope(results: Sequence[EngineResult], best: str | None) -> str | None:
    """Return what the best engine takes to start, and the engines without a measurement."""
    points = [f"{engine_label(r.engine)} was not measured: {r.reason or r.status}" for r in results if not r.trials]
    for r in results:
        if r.engine == best and r.startup_s and r.memory_bytes:
            start, memory = shown_duration(r.startup_s), shown_bytes(r.memory_bytes)
            points.insert(0, f"{engine_label(best)} takes {start} to start and {memory} of memory")
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
        points.append(f"the load generator was {trial.client} at this rate, so latencies may be its own")
    if reach.uncertain:
        points.append(
            f"the attainment is not monotone: only {' and '.join(map(_at, reach.uncertain))}, which is uncertain"
        )
    if trial.attainment_interval[0] < asked:
        points.append(f"the interval at {three_digits(trial.rate_per_s)}/s reaches below {100 * asked:g} %")
    for e in order[1:]:
        if reaches[e].possible and reaches[e].possible[-1].rate_per_s > trial.rate_per_s / TIE:
            points.append(f"{engine_label(e)} may meet the SLO at {_rates(reaches[e].possible)} too")
    for r in results:
        if reaches[r.engine].beyond:
            points.append(
                f"{engine_label(r.engine)} met the SLO at {_rates(reaches[r.engine].beyond)}, above a rate that missed it"
            )
    higher = [t for r in results if r.engine == best for t in r.trials if t.rate_per_s > trial.rate_per_s]
    if not higher:
        points.append("no higher rate was tried, so the peak may lie above")
    else:
        following = min(higher, key=lambda t: t.rate_per_s)
        is_sure = following.surely_misses(asked)
        peak = (
            "so the peak lies between the two" if is_sure else "but its interval reaches it, so the peak may lie above"
        )
        points.append(f"the next rate tried missed the SLO ({_at(following)}), {peak}")
    return points


def _partly_ranked(
    results: Sequence[EngineResult], sustained: dict[str, Trial], unranked: dict[str, Trial], slo: Slo
) -> Verdict:
    """Return the verdict where the rates of some engines cannot be set beside those of others."""
    reasons = " ".join(f"{engine_label(e)} is not ranked: {t.not_comparable[0].text}" for e, t in unranked.items())
    tokens = ", ".join(
        f"{engine_label(e)} {three_digits(t.output_tokens_per_s)}"
        for e, t in sorted({**sustained, **unranked}.items(), key=lambda item: -item[1].output_tokens_per_s)
    )
    by_tokens = f"Output tokens/s at the highest rate within the SLO: {tokens}."
    if not sustained:
        return Verdict(
            headline="These engines cannot be ranked by requests/s: answers are not what was asked for.",
            evidence=f"{reasons} {by_tokens}",
            scope="Make the servers stream, and answer with the full length (vLLM: ignore_eos), then measure again.",
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
        f"{engine_label(engine)}, {kind} at {', '.join(f'{three_digits(rate)}/s' for rate, _ in items)}: {items[-1][1]}"
        for (engine, kind), items in found.items()
    ]


def result_rows(results: Sequence[EngineResult], slo: Slo, *, usd_per_hour: float) -> list[tuple[str, ...]]:
    """Return the cells of ``RESULT_HEAD`` for each engine; an engine without trials has its reason in one cell."""
    return [
        _measured(r, r.best(slo.attainment_fraction), usd_per_hour)
        if r.status == "measured"
        else (engine_label(r.engine), f"{r.status}: {r.reason or ''}")
        for r in results
    ]


def _measured(result: EngineResult, trial: Trial | None, usd_per_hour: float) -> tuple[str, ...]:
    server = (
        shown_duration(result.startup_s) if result.startup_s else "–",
        shown_bytes(result.memory_bytes) if result.memory_bytes else "–",
        result.version or "–",
    )
    if trial is None:
        return (engine_label(result.engine), "none", "–", "–", "–", "–", "–", *server)
    usd = usd_per_million_good_tokens(trial, usd_per_hour=usd_per_hour)
    p99 = shown_p99(trial.ttft_p99_s, n=trial.n_requests)
    top = "at least " if trial.rate_per_s == max(t.rate_per_s for t in result.trials) else ""
    return (
        engine_label(result.engine),
        f"{top}{three_digits(trial.rate_per_s)}/s",
        f"{_attained(trial)} of {trial.n_requests}",
        shown_usd(usd) if usd is not None else "–",
        f"{shown_duration(trial.ttft_p50_s or 0)} / {p99}",
        shown_duration(trial.tpot_p50_s or 0),
        three_digits(good_tokens_per_s(trial)),
        *server,
    )


def published_rows() -> list[tuple[str, ...]]:
    """Return the cells of ``PUBLISHED_HEAD`` for each published figure of an engine."""
    names = {e.id: e.name for e in engines()}
    return [
        (
            names[f.engine],
            f"{three_digits(f.value)} {f.unit}",
            f"{f.model}, {devices()[f.device_id].name}, {f.condition}",
            f"{f.source}, {f.date}",
        )
        for f in published_figures()
    ]


def feature_rows() -> list[tuple[str, ...]]:
    """Return the cells of ``FEATURE_HEAD`` for each engine of the catalogue."""
    return [
        (
            e.name, e.tested_version, e.quantization, e.parallelism, e.multimodal, e.hardware, e.started, e.install,
            f"{e.source}, {e.date}",
        )
        for e in engines()
    ]  # fmt: skip


def launch_commands(run: Run) -> str:
    """Return the shell commands that start what was measured."""
    spec = run.asked(EngineSweepSpec)
    random = " --random-weights" if spec.random_weights else ""
    return "\n\n".join(_launch(r, spec.model, random) for r in run.rows(EngineResult))


def _launch(result: EngineResult, model: str, random: str) -> str:
    candidate = Candidate.read(result.engine)
    if candidate.url:
        return f"# {candidate.label}\nworkbench load {candidate.url} --rate 10"
    settings = f" -- {' '.join(candidate.extra)}" if candidate.extra else ""
    line = f"# {candidate.label}\nworkbench serve {model} --engine {candidate.engine}{random}{settings}"
    if candidate.engine in {"vllm", "lmdeploy"} and result.launch:
        line += f"\n# which starts, in the engine's own environment\n{result.launch}"
    return line


def other_launch_commands(run: Run) -> str:
    """Return the commands of the engines that were not measured, each with whether it was ever started here."""
    measured = {Candidate.read(r.engine).engine for r in run.rows(EngineResult)}
    model = run.asked(EngineSweepSpec).model
    plan = ServePlan(model=model, n_gpus=0 if run.environment.device_id.startswith("cpu") else 1)
    known = {e.id: e for e in engines()}
    lines = []
    for name in (n for n in MAKERS if n not in measured):
        head = f"# {known[name].name}: {known[name].started}"
        try:
            lines.append(f"{head}\n{launch_recipe(name, plan).text}")
        except NotAvailable as error:
            lines.append(f"{head}; {error.cause}")
    return "\n\n".join(lines)
