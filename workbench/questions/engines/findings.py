"""What a sweep says under any SLO: attainment from the raw requests, the best engine, and the rows of its tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.catalog.tables import devices, engines, published_figures
from workbench.core.errors import NotAvailable
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, shown_usd, three_digits
from workbench.core.verdict import Verdict
from workbench.engines.recipes import MAKERS, launch_recipe
from workbench.engines.serve_plan import ServePlan
from workbench.load.rows import TimedRequest
from workbench.load.summary import attainment
from workbench.questions.engines.rows import NOT_COMPARABLE, EngineResult, SweepSamples, Trial
from workbench.questions.engines.spec import Candidate, EngineSweepSpec, engine_label

QUESTION = 1
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
    """Return the results with attainment and goodput counted anew under another SLO, from the stored requests."""
    samples = run.sampled(SweepSamples)
    return [
        replace(
            r,
            trials=tuple(_under(t, samples.of(r.engine, t), slo) for t in sorted(r.trials, key=lambda t: t.rate_per_s)),
        )
        for r in run.rows(EngineResult)
    ]


def _under(trial: Trial, requests: Sequence[TimedRequest], slo: Slo) -> Trial:
    if not requests:
        return trial
    ordered = sorted(requests, key=lambda r: r.due_s)
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
    reached = {r.engine: t for r in results if (t := r.best(slo.attainment_fraction))}
    sustained = {engine: t for engine, t in reached.items() if not t.not_comparable}
    unranked = {engine: t for engine, t in reached.items() if t.not_comparable}
    words = f"TTFT up to {shown_duration(slo.ttft_s)} and TPOT up to {shown_duration(slo.tpot_s)} for {slo.attainment_fraction:.0%} of the requests"
    if unranked and sum(r.status == "measured" for r in results) > 1:
        return _partly_ranked(results, sustained, unranked, slo)
    if not reached:
        return Verdict(
            headline="No engine meets this SLO at any rate that was tried.",
            evidence=f"The SLO is {words}.",
            objection="Lower rates were not tried: loosen the SLO, or run again from a lower first rate.",
        )
    sustained = sustained or reached
    order = sorted(sustained, key=lambda e: sustained[e].rate_per_s, reverse=True)
    best, trial = order[0], sustained[order[0]]
    headline = f"{engine_label(best)} meets the SLO up to {three_digits(trial.rate_per_s)} requests/s"
    if len(order) > 1:
        ratio, second = trial.rate_per_s / sustained[order[1]].rate_per_s, engine_label(order[1])
        headline += f", {ratio:.1f}x {second}" if ratio > 1.01 else f", as does {second}"
    low, high = trial.attainment_interval
    return Verdict(
        headline=headline + ".",
        evidence=f"{trial.attainment_fraction:.0%} [{low:.0%}, {high:.0%}] of {trial.n_requests} requests met the SLO "
        f"({words}); TTFT p50 was {shown_duration(trial.ttft_p50_s or 0)}.",
        objection=_objection(next(r for r in results if r.engine == best), trial),
        best=best,
    )


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
            objection="make the servers stream, and answer with the full length (vLLM: ignore_eos), then measure again.",
        )
    ranked = verdict([r for r in results if r.engine not in unranked], slo)
    return replace(ranked, evidence=f"{ranked.evidence} {by_tokens}", objection=f"{reasons} {ranked.objection}")


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


def _objection(result: EngineResult, trial: Trial) -> str:
    against = next((w.text for w in trial.warnings if w.kind in {*NOT_COMPARABLE, "prefix-cache"}), None)
    if against:
        return against[:1].lower() + against[1:]
    higher = [t.rate_per_s for t in result.trials if t.rate_per_s > trial.rate_per_s]
    if not higher:
        return "the peak request rate was not reached: no higher rate was tried."
    if trial.client != "good":
        return f"the load generator was {trial.client} at this rate: it shares the processor with the server."
    limit = f"the next rate tried, {three_digits(min(higher))}/s, missed the SLO, so the peak lies between the two"
    if not result.startup_s or not result.memory_bytes:
        return limit + "."
    return f"{limit}; the engine takes {shown_duration(result.startup_s)} to start and {shown_bytes(result.memory_bytes)} of memory."


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
    low, high = trial.attainment_interval
    usd = usd_per_million_good_tokens(trial, usd_per_hour=usd_per_hour)
    p99 = shown_duration(trial.ttft_p99_s) if trial.ttft_p99_s else "–"
    top = "at least " if trial.rate_per_s == max(t.rate_per_s for t in result.trials) else ""
    return (
        engine_label(result.engine),
        f"{top}{three_digits(trial.rate_per_s)}/s",
        f"{trial.attainment_fraction:.0%} [{low:.0%}, {high:.0%}] of {trial.n_requests}",
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
