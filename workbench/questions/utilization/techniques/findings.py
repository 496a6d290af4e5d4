"""What techniques gain here: the verdict, claimed gains, what bounds a step, and the tables."""

from dataclasses import dataclass

from workbench.catalog.tables import claims
from workbench.core.columns import Columns
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.stored_texts import in_readers_words
from workbench.core.units import NOT_KNOWN, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.questions.utilization.techniques.rows import (
    Gain,
    MemoryGain,
    NotMeasured,
    OperatorTime,
    Roof,
    StepProfile,
    TechniquesSamples,
    TimeGain,
)
from workbench.questions.utilization.techniques.spec import COMPARISONS, EARLIER_COMPARISONS, STEPS

QUESTION = 4
LONGEST_NAME = 80  # characters of an operator: kernels are named by pages of template arguments
STATUSES = {"not available": gettext("not available"), "failed": gettext("failed")}
UNSTEADY = 1.5  # times the same step
TECHNIQUE_HEAD = (
    gettext("Technique"),
    gettext("without"),
    gettext("with"),
    gettext("gain"),
    gettext("95 % interval"),
    gettext("comparison"),
)
OPERATOR_COLUMNS: Columns[OperatorTime] = {
    gettext("Operator"): lambda x: x.name if len(x.name) <= LONGEST_NAME else f"{x.name[:LONGEST_NAME]}…",
    gettext("time"): lambda x: shown_duration(x.s),
    gettext("calls"): lambda x: f"{x.n:.0f}",
}
"""Columns of a table of ``OperatorTime`` rows."""


CLAIMED = {"batching": "throughput_gain", "overlap": "latency_reduction", "precision": "speedup"}
"""Metric of the claim about the gain of a technique."""
CLAIMED_AS = {"batching": "dynamic batching", "overlap": "asynchronous inference", "precision": "mixed precision"}


def claimed_gains() -> dict[str, tuple[float, float]]:
    """Return claimed factors by technique; a time that falls by p percent is 1 / (1 - p)."""
    ranges = {}
    by_key = {(c.technique, c.metric): c for c in claims() if c.question == QUESTION}
    for name, metric in CLAIMED.items():
        claim = by_key[CLAIMED_AS[name], metric]
        if claim.low is not None and claim.high is not None:
            is_time = metric == "latency_reduction"
            low, high = (1 / (1 - x / 100) if is_time else x for x in (claim.low, claim.high))
            ranges[name] = (low, high)
    return ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundBy:
    """Shares of a step's time that its arithmetic and its bytes explain, and the share that neither does."""

    compute: float
    memory: float
    neither: float


def bound_by(profile: StepProfile, roof: Roof, *, wall_s: float | None = None) -> BoundBy:
    """Return shares of a step's time that its arithmetic and its bytes need at what this device reaches, and what neither explains.

    Weights are read once a step; what caches and activations move comes on top, so the second is a lower bound.
    ``wall_s`` is the time of the step where it was timed better than beside the profile.
    """
    seconds = wall_s or profile.wall_s
    compute = profile.flop / roof.flop_per_s / seconds
    memory = profile.bytes / roof.bytes_per_s / seconds
    return BoundBy(compute=compute, memory=memory, neither=max(0.0, 1 - max(compute, memory)))


def step_of_one_s(run: Run) -> tuple[float, float]:
    """Return the shortest and the longest time of a token for one sequence that a run measured: interleaved with batches, and beside the profile."""
    profile = next(iter(run.sampled(TechniquesSamples).profiles.values()))
    own = next((r.without_s for r in run.rows(TimeGain) if r.technique == "batching"), profile.wall_s)
    return min(own, profile.wall_s), max(own, profile.wall_s)


def verdict(run: Run) -> Verdict | None:
    """Return the technique that gains most, and what remains to be gained; None where nothing could be measured."""
    measured, samples = run.rows(TimeGain), run.sampled(TechniquesSamples)
    if not measured:
        return None
    best = max(measured, key=lambda r: r.gain)
    (low, high), is_gain = best.gain_interval, best.gain_interval[0] > 1
    slower = [gettext(r.label) for r in measured if r.gain_interval[1] < 1]
    unclear = [gettext(r.label) for r in measured if r.gain_interval[0] <= 1 <= r.gain_interval[1]]
    equal = [gettext(r.label) for r in measured if r is not best and r.gain_interval[1] >= low]
    name, profile = next(iter(samples.profiles.items()))
    least_s, most_s = step_of_one_s(run)
    bound, points = bound_by(profile, samples.roof, wall_s=least_s), list[str]()
    if slower:
        points.append(gettext("slower on this device: {techniques}").format(techniques=gettext(", ").join(slower)))
    if equal and is_gain:
        points.append(
            gettext("its gain is not shown to be larger than that of {techniques}").format(
                techniques=gettext(", ").join(equal)
            )
        )
    if most_s > UNSTEADY * least_s:
        points.append(
            gettext(
                "the same step took {least} and {most} in this run, so that gains over eager steps may be those of "
                "a slow host"
            ).format(least=shown_duration(least_s), most=shown_duration(most_s))
        )
    if unclear:
        points.append(gettext("no gain is shown for {techniques}").format(techniques=gettext(", ").join(unclear)))
    headline = gettext("{technique} has the largest measured gain: {gain}x the throughput.").format(
        technique=_at_start(best.label), gain=f"{best.gain:.2f}"
    )
    if not is_gain:
        headline = gettext("No technique is shown to raise the throughput of this device.")
    return Verdict(
        headline=headline,
        evidence=gettext(
            "{technique}: 95 % interval {low} to {high}; {comparison}. {step} takes {time}: {memory} of it is explained by "
            "reading weights at this device's bandwidth, {compute} by arithmetic, and {neither} by neither."
        ).format(
            technique=_at_start(best.label),
            low=f"{low:.2f}",
            high=f"{high:.2f}",
            comparison=comparison(best),
            step=_at_start(name),
            time=shown_duration(least_s),
            memory=shown_percent(bound.memory),
            compute=shown_percent(bound.compute),
            neither=shown_percent(bound.neither),
        ),
        objection=objections(points),
        scope=gettext("Each technique was measured alone: gains of several are not their product."),
        best=best.technique if is_gain else None,
        answer="yes" if is_gain else "no",
    )


def _at_start(text: str) -> str:
    """Return a stored text as a sentence begins with it, in the reader's language."""
    shown = in_readers_words(text, STEPS)
    return text.capitalize() if shown == text else shown


def comparison(row: Gain) -> str:
    """Return what a row compares with what, in the reader's language."""
    return in_readers_words(row.what, (*COMPARISONS.values(), *EARLIER_COMPARISONS))


def technique_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``TECHNIQUE_HEAD`` for each technique; name and reason where its gain is not known."""
    shown: list[tuple[str, ...]] = []
    for r in run.results:
        match r:
            case NotMeasured():
                shown.append(
                    (
                        gettext(r.label),
                        gettext("{status}: {reason}").format(status=STATUSES[r.status], reason=gettext(r.reason)),
                    )
                )
                continue
            case TimeGain():
                pair, (low, high) = (shown_duration(r.without_s), shown_duration(r.with_s)), r.gain_interval
                interval = gettext("{low} to {high}").format(low=f"{low:.2f}", high=f"{high:.2f}")
            case MemoryGain():
                pair = (
                    gettext("{share} empty").format(share=shown_percent(r.without_fraction, 1)),
                    gettext("{share} empty").format(share=shown_percent(r.with_fraction, 1)),
                )
                interval = NOT_KNOWN
            case _:
                continue
        shown.append((f"{r.provenance.mark} {gettext(r.label)}", *pair, f"{r.gain:.2f}×", interval, comparison(r)))
    return shown


def roof_text(roof: Roof) -> str:
    """Return what the device reaches, in words."""
    return gettext(
        "This device reaches {flops} GFLOP/s in a large float32 product and {bandwidth} GB/s in a large copy ●."
    ).format(flops=three_digits(roof.flop_per_s / 1e9), bandwidth=three_digits(roof.bytes_per_s / 1e9))


def profile_title(name: str, profile: StepProfile, roof: Roof) -> str:
    """Return how long a step takes and what of it reading and arithmetic explain."""
    bound = bound_by(profile, roof)
    return gettext(
        "{step}: {time}, {n} operators; {memory} explained by reading weights, {compute} by arithmetic"
    ).format(
        step=_at_start(name),
        time=shown_duration(profile.wall_s),
        n=f"{profile.n_operators:.0f}",
        memory=shown_percent(bound.memory),
        compute=shown_percent(bound.compute),
    )
