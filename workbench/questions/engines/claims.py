"""Judges of the claims about serving engines, and of the time that a new replica takes to start."""

from workbench.catalog.ledger import (
    Evidence,
    Judge,
    Judgement,
    Judges,
    Outcome,
    compared,
    first_of,
    untested,
    with_note,
)
from workbench.catalog.tables import Claim
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import three_digits
from workbench.questions.engines.rows import EngineResult
from workbench.questions.engines.spec import EngineSweepSpec, engine_label

COMPARE = "workbench engines compare data/models/llama-3.1-8b-shape --random-weights --device cuda --engines {}"
NOTICEABLE = 1.03
NEAR_BEST = 0.9
"""Part of the highest rate from which on an engine counts as one of the fast ones."""


def peak_rates(results: list[EngineResult], attainment: float) -> dict[str, float]:
    """Return the highest rate within the SLO of each engine that was measured; 0 for one that met it at no rate."""
    peaks = {}
    for result in results:
        if result.status == "measured" and result.trials:
            trial = result.best(attainment)
            peaks[result.engine] = trial.rate_per_s if trial else 0.0
    return peaks


def _rates(engine: str, evidence: Evidence, *, leaves_out: str) -> Judgement | None:
    """Return a judgement with the engine's rate over the best other one of the newest sweep, on a GPU first, as its value."""
    for run, results in sorted(
        evidence.with_rows("engine_sweep", EngineResult), key=lambda pair: pair[0].environment.device_id == "cpu"
    ):
        usable = [r for r in results if not leaves_out or leaves_out not in (r.launch or "") or r.engine != engine]
        rates = peak_rates(usable, run.asked(EngineSweepSpec).attainment_fraction)
        others = {name: rate for name, rate in rates.items() if name != engine}
        if engine not in rates or not any(others.values()):
            continue
        words = gettext(", ").join(
            f"{engine_label(n)} {three_digits(r)}" for n, r in sorted(rates.items(), key=lambda p: -p[1])
        )
        return Judgement(
            outcome=Outcome.CONFIRMED,
            how=gettext("Peak request rates within the SLO of {model}: {words} requests/s.").format(
                model=run.model, words=words
            ),
            value=rates[engine] / max(others.values()),
            runs=(run,),
            provenance=Provenance.MEASURED,
        )
    return None


def is_among_the_fastest(engine: str, *, least: float, leaves_out: str = "") -> Judge:
    """Return a judge of an engine that is said to be fast: its peak request rate over the best of the others.

    Args:
        engine: As sweeps name it.
        least: Ratio from which on the claim is confirmed.
        leaves_out: Word of a launch command under which the engine is not what the claim is about.
    """

    def judge(_claim: Claim, evidence: Evidence) -> Judgement | None:
        rates = _rates(engine, evidence, leaves_out=leaves_out)
        if rates is None or rates.value is None or rates.value >= least:
            return rates
        return Judgement(
            outcome=Outcome.LESS, how=rates.how, value=rates.value, runs=rates.runs, provenance=rates.provenance
        )

    return first_of(judge, _not_started(engine))


def is_slower_than_the_fastest(engine: str, note: str = "") -> Judge:
    """Return a judge of an engine that is said to be slower than others: its peak request rate over the best of the others."""

    def judge(_claim: Claim, evidence: Evidence) -> Judgement | None:
        rates = _rates(engine, evidence, leaves_out="")
        if rates is None or rates.value is None:
            return None
        rates = with_note(rates, note)
        if (rates.value or 0) < 1:
            return rates
        return Judgement(
            outcome=Outcome.OPPOSITE, how=rates.how, value=rates.value, runs=rates.runs, provenance=rates.provenance
        )

    return first_of(judge, _not_started(engine))


WHY_NOT = {
    "lmdeploy": gettext(
        "The shipped sweep ran LMDeploy with its PyTorch backend, 6.7 times slower than vLLM; the claim is "
        "about TurboMind, whose build needs CUDA 12 libraries."
    ),
    "tensorrt-llm": gettext("It comes as a container image and was not started here."),
    "tgi": gettext("It comes as a container image, is in maintenance, and was not started here."),
}


def _not_started(engine: str) -> Judge:
    return untested(
        COMPARE.format(f"vllm,{engine}") if engine == "lmdeploy" else f"workbench load URL  # of a running {engine}",
        WHY_NOT.get(engine, gettext("No sweep measured it beside another engine.")),
    )


def start_up(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the start-up time of the fastest engine that met its SLO at some rate: no autoscaler adds capacity sooner."""
    for run, results in evidence.with_rows("engine_sweep", EngineResult, on_gpu=True):
        attainment = run.asked(EngineSweepSpec).attainment_fraction
        serving = {r.engine: r.startup_s for r in results if r.startup_s and r.trials and r.best(attainment)}
        if serving:
            words = gettext(", ").join(f"{engine_label(n)} {s:.0f} s" for n, s in serving.items())
            how = gettext(
                "Time from the launch of a server until it answered, without the time to get a machine: {words}. "
                "Engines that met the SLO at no rate are left out."
            ).format(words=words)
            return compared(claim, min(serving.values()), how, runs=(run,))
    return None


JUDGES: Judges = {
    (1, "vLLM", "strength"): is_among_the_fastest("vllm", least=NOTICEABLE),
    (1, "LMDeploy", "strength"): is_among_the_fastest("lmdeploy", least=NEAR_BEST, leaves_out="--backend pytorch"),
    (1, "TensorRT-LLM", "strength"): is_among_the_fastest("tensorrt-llm", least=1.0),
    (1, "ONNX Runtime", "strength"): is_slower_than_the_fastest(
        "onnx", gettext("Classic models run in it in 13; all runs here are on x86 processors.")
    ),
    (1, "TGI", "strength"): is_slower_than_the_fastest("tgi"),
    (6, "autoscaling", "response_time"): first_of(
        start_up, untested(COMPARE.format("vllm"), gettext("No engine was started on a GPU."))
    ),
}
"""By question, technique and metric."""
