"""Judges of the claims about techniques that raise the use of a GPU."""

from collections.abc import Callable
from dataclasses import replace

from workbench.catalog.ledger import Evidence, Judge, Judgement, Judges, Outcome, compared, first_of, untested
from workbench.catalog.tables import Claim
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.load.recording.rows import recording_of, span_of
from workbench.questions.utilization.findings import gpus_of
from workbench.questions.utilization.served.findings import at_start, shown_ratio, shown_share
from workbench.questions.utilization.served.rows import ServedGain
from workbench.questions.utilization.served.spec import ServedTechniquesSpec
from workbench.questions.utilization.techniques.findings import comparison
from workbench.questions.utilization.techniques.rows import Gain, TimeGain

TECHNIQUES = "workbench techniques MODEL --device cuda"
SERVED = "workbench served-techniques MODEL --device cuda"
SAMPLED = "workbench load URL --telemetry-hz 10  # against a server with and without {}"
Figure = Callable[[Gain], tuple[float, tuple[float, float] | None] | None]


def _gain(row: Gain) -> tuple[float, tuple[float, float] | None]:
    return row.gain, row.gain_interval if isinstance(row, TimeGain) else None


def _saved(row: Gain) -> tuple[float, tuple[float, float] | None]:
    if not isinstance(row, TimeGain):
        return row.reduction_percent, None
    low, high = row.gain_interval
    return row.reduction_percent, (100 * (1 - 1 / low), 100 * (1 - 1 / high))


def _operators(row: Gain) -> tuple[float, tuple[float, float] | None] | None:
    counts = row.operators if isinstance(row, TimeGain) else None
    return (counts.reduction_percent, None) if counts else None


def technique(name: str, figure: Figure, note: str = "") -> Judge:
    """Return a judge of a figure of a technique, from the newest run on a GPU; other devices are named beside it."""

    def judge(claim: Claim, evidence: Evidence) -> Judgement | None:
        rows = [
            (run, row) for run, rows in evidence.with_rows("techniques", Gain) for row in rows if row.technique == name
        ]
        measured = [(run, row, found) for run, row in rows if (found := figure(row))]
        on_gpu = [m for m in measured if m[0].environment.device_id != "cpu"]
        if not on_gpu:
            return None
        run, row, (value, interval) = on_gpu[0]
        unit = "×" if claim.unit == "ratio" else " %"
        others = [
            f"{r.environment.device} {v:.3g}{unit}"
            for r, _, (v, _i) in measured
            if r is not run and r.environment.device_id == "cpu"
        ]
        what = comparison(row)
        how = (gettext("{comparison} ({model}). On {runs}.") if others else gettext("{comparison} ({model}).")).format(
            comparison=what[0].upper() + what[1:], model=run.model, runs=gettext(", ").join(others)
        )
        estimated = row.provenance is Provenance.ESTIMATED
        provenance = Provenance.ESTIMATED if estimated else Provenance.MEASURED
        return compared(claim, value, f"{how} {note}".strip(), runs=(run,), interval=interval, provenance=provenance)

    return first_of(judge, untested(TECHNIQUES, gettext("No run on a GPU measured it.")))


def under_load(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the utilization that NVML reports in the busiest load whose GPU was sampled; vLLM batches dynamically."""
    means = []
    for run in evidence.of("load", on_gpu=True):
        recording = recording_of(run)
        gpus = gpus_of(recording) if recording else []
        if recording is None or not gpus:
            continue
        start, end = span_of(run, recording)
        used, tensor = (recording.mean(f"{gpus[0]}.{q}_percent", start, end) for q in ("utilisation", "tensor_active"))
        if used is not None:
            means.append((used, tensor, run))
    if not means:
        return None
    used, tensor, run = max(means, key=lambda m: m[0])
    least = min(m[0] for m in means)
    how = gettext(
        "Mean of NVML's utilization in {n} loads on vLLM, which batches dynamically: {least} to {most} %."
    ).format(n=len(means), least=f"{least:.0f}", most=f"{used:.0f}")
    if tensor is not None:
        how += gettext(" It counts the time in which any kernel ran: tensor cores were active for {share} %.").format(
            share=f"{tensor:.0f}"
        )
    return compared(claim, used, how, runs=(run,))


def served(name: str) -> Judge:
    """Return the judge of the utilization with a technique of a served model, from the newest run on a GPU that was sampled.

    A utilization that is as high without the technique is no gain of it.
    """

    def judge(claim: Claim, evidence: Evidence) -> Judgement | None:
        for run, rows in evidence.with_rows("served_techniques", ServedGain, on_gpu=True):
            for row in rows:
                used, without = row.with_it.utilization_fraction, row.without.utilization_fraction
                if row.technique == name and used is not None and without is not None:
                    spec = run.asked(ServedTechniquesSpec)
                    how = gettext(
                        "Mean of NVML's utilization of a served model ({model}, {n} users, {n_in} tokens in, {n_out} out): {without} without the "
                        "technique, at {ratio} times the tokens per second with it. {comparison}. It counts the time in which any kernel ran."
                    ).format(
                        model=run.model,
                        n=spec.concurrency,
                        n_in=spec.input_tokens,
                        n_out=spec.output_tokens,
                        without=shown_share(without),
                        ratio=shown_ratio(row.throughput_ratio),
                        comparison=at_start(gettext(row.what)),
                    )
                    ends = 100 * used.low, 100 * used.high
                    found = compared(claim, 100 * used.value, how, runs=(run,), interval=ends)
                    is_raised = row.utilization_gain is not None and row.utilization_gain.low > 0
                    return found if is_raised else replace(found, outcome=Outcome.NO_GAIN)
        return None

    return first_of(
        judge, untested(SERVED, gettext("No run measured the utilization with the technique and without it."))
    )


HOST = gettext("Eager steps of PyTorch, which wait for the host: a lower bound of what a served model gains.")
JUDGES: Judges = {
    (4, "dynamic batching", "throughput_gain"): technique("batching", _gain),
    (4, "asynchronous inference", "latency_reduction"): technique("overlap", _saved),
    (4, "memory pool", "fragmentation_reduction"): technique("pool", _saved),
    (4, "operator fusion", "kernel_count_reduction"): technique("fusion", _operators),
    (4, "mixed precision", "speedup"): technique("precision", _gain, HOST),
    (4, "dynamic batching", "gpu_utilization"): first_of(
        under_load, untested(SAMPLED.format("batching"), gettext("No GPU was sampled."))
    ),
    (7, "GPU utilization", "normal_range"): first_of(
        under_load, untested(SAMPLED.format("requests"), gettext("No GPU was sampled."))
    ),
    (4, "asynchronous inference", "gpu_utilization"): served("async"),
    (4, "memory pool", "gpu_utilization"): served("pool"),
    (4, "operator fusion", "gpu_utilization"): served("fusion"),
}
"""By question, technique and metric."""
