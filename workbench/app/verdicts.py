"""The newest verdict of each question, for the start page: from the newest run, or from the load that its notebook opens with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workbench.catalog.paths import MEASURED
from workbench.core.errors import WorkbenchError
from workbench.core.knobs import knobs_of
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.verdict import Verdict
from workbench.store.runs import runs_in_folder

REPLAY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The newest answer to a question."""

    headline: str
    provenance: Provenance
    place: str
    """Device that it was measured on or estimated for."""
    run: Run | None = None
    """None for an answer that is computed."""


Answer = tuple[Verdict, str, Run | None]
"""A verdict, the device that it is about, and the run that it is drawn from."""


def _of_run(run: Run, verdict: Verdict) -> Answer:
    return verdict, run.environment.device, run


def _drawn(run: Run | None, verdict: Callable[[Run], Verdict]) -> Answer | None:
    return None if run is None else _of_run(run, verdict(run))


def _newest(runs: Sequence[Run], *kinds: str) -> Run | None:
    return next((r for r in runs if r.kind in kinds), None)


def _engines(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.engines import findings
    from workbench.questions.engines.spec import EngineSweepSpec

    if (run := _newest(runs, "engine_sweep")) is None:
        return None
    slo = findings.slo_of(run.asked(EngineSweepSpec))
    return _of_run(run, findings.verdict(findings.results_under(run, slo), slo))


def _quantization(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.quantization import findings
    from workbench.questions.quantization.panel.state import QuantizationState

    if (run := _newest(runs, "quantization")) is None:
        return None
    starts = knobs_of(QuantizationState)
    limit, batch = findings.KL_LIMITS[starts["limit"].start], starts["batch"].start
    return _of_run(run, findings.verdict(run, kl_limit=limit, batch=batch))


def _parallelism(_runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.parallelism.findings import plan_load, plan_verdict
    from workbench.questions.parallelism.spec import PlanSpec

    spec = PlanSpec(**{name: field.start for name, field in knobs_of(PlanSpec).items()})
    return plan_verdict(plan_load(spec)), gettext("{n} devices of the catalogue").format(n=len(spec.devices)), None


def _utilization(runs: Sequence[Run]) -> Answer | None:
    from workbench.load.recording.rows import recording_of, span_of
    from workbench.questions.utilization import findings

    for run in (r for r in runs if r.kind in {"recording", "load"}):
        recording = recording_of(run)
        if recording and (gpus := findings.gpus_of(recording)):
            return _of_run(run, findings.verdict(findings.gpu_use(recording, gpus[0], *span_of(run, recording))))
    return None


def _long_context(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.long_context.findings import verdict

    return _drawn(_newest(runs, "long_context"), verdict)


def _surge(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.surge.findings import verdict

    return _drawn(_newest(runs, "surge"), verdict)


def _monitoring(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.monitoring import findings
    from workbench.questions.monitoring.findings.alert_replay import can_replay, replay
    from workbench.questions.monitoring.measure import prefix_of, rules_of
    from workbench.questions.monitoring.rows import MonitoringSamples
    from workbench.questions.monitoring.spec import AUTO, MonitoringSpec

    if run := _newest(runs, MonitoringSpec.kind):
        watched, own = run.asked(MonitoringSpec), run.sampled(MonitoringSamples).evaluations
        return _of_run(run, findings.verdict(own, rules_of(watched, prefix=prefix_of(watched, own))))
    if (run := next((r for r in runs if r.kind == "load" and can_replay(r)), None)) is None:
        return None
    rules = rules_of(MonitoringSpec(url="http://measured", prefix=AUTO))
    evaluations = [e.kept(origin_s=0.0) for e in replay(run, rules, interval_s=REPLAY_S)]
    return _of_run(run, findings.verdict(evaluations, rules))


def _cost(_runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.cost.claims import opening_price
    from workbench.questions.cost.findings import cost_verdict

    _, priced = opening_price()
    return None if priced is None else (cost_verdict(priced), priced.case.offer.name, None)


def _security(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.security.findings import verdict

    return _drawn(_newest(runs, "redaction"), verdict)


def _rollout(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.rollout.findings import verdict

    return _drawn(_newest(runs, "rollout"), verdict)


def _latency(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.latency.findings import answers, diagnose
    from workbench.questions.latency.panel import EXAMPLES, first_pair
    from workbench.questions.latency.rows import holds_requests

    loads = [r for r in (*runs, *runs_in_folder(MEASURED / EXAMPLES)) if r.kind == "load" and holds_requests(r)]
    by_id, pair = {r.id: r for r in loads}, first_pair(loads)
    sides = [by_id.get(pair[side] or "") for side in ("baseline", "current")]
    if sides[0] is None or sides[1] is None:
        return None
    return _of_run(sides[1], answers.verdict(diagnose(sides[0], sides[1]), None))


def _multimodal(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.multimodal.findings import verdict

    return _drawn(_newest(runs, "images"), verdict)


def _edge(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.edge import findings
    from workbench.questions.edge.rows import Limits, VariantResult, batches_of, first_shown
    from workbench.questions.edge.spec import EdgeSpec

    run = first_shown(runs)
    if run is None or not (variants := run.rows(VariantResult)):
        return None
    settings = findings.settings_under(run, Limits.of(run.asked(EdgeSpec)))
    return _of_run(run, findings.verdict(variants, settings, batches_of(run)[0]))


def _tuning(runs: Sequence[Run]) -> Answer | None:
    from workbench.questions.tuning.findings import tuned_under, verdict
    from workbench.questions.tuning.spec import TuneSpec

    for run in (r for r in runs if r.kind == TuneSpec.kind):
        spec = run.asked(TuneSpec)
        if (tuned := tuned_under(run, slo_ttft_s=spec.slo_ttft_s, slo_tpot_s=spec.slo_tpot_s)) is not None:
            return _of_run(run, verdict(tuned))
    return None


ANSWERS: Mapping[str, Callable[[Sequence[Run]], Answer | None]] = {
    "engines": _engines,
    "quantization": _quantization,
    "parallelism": _parallelism,
    "utilization": _utilization,
    "long_context": _long_context,
    "surge": _surge,
    "monitoring": _monitoring,
    "cost": _cost,
    "security": _security,
    "rollout": _rollout,
    "latency": _latency,
    "multimodal": _multimodal,
    "edge": _edge,
    "tuning": _tuning,
}
"""By question; what a function needs is imported when it is called, so that the start page shows its cards at once."""


def newest_answer(slug: str, runs: Sequence[Run]) -> Newest | None:
    """Return the newest answer to a question from runs, newest first; None where there is none."""
    try:
        answer = ANSWERS[slug](runs)
    except (WorkbenchError, LookupError, ValueError, TypeError):  # a run from elsewhere, or a catalogue of one's own
        return None
    if answer is None:
        return None
    verdict, place, run = answer
    return Newest(headline=verdict.headline, provenance=verdict.provenance, place=place, run=run)
