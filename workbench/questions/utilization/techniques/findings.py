"""What techniques gain here: the verdict, claimed gains, what bounds a step, and the tables."""

from dataclasses import dataclass

from workbench.catalog.tables import claims
from workbench.core.columns import Columns
from workbench.core.runs import Run
from workbench.core.units import NOT_KNOWN, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.questions.utilization.techniques.rows import (
    MemoryGain,
    NotMeasured,
    OperatorTime,
    Roof,
    StepProfile,
    TechniquesSamples,
    TimeGain,
)

QUESTION = 4
UNSTEADY = 1.5  # times the same step
TECHNIQUE_HEAD = ("Technique", "without", "with", "gain", "95 % interval", "comparison")
OPERATOR_COLUMNS: Columns[OperatorTime] = {
    "Operator": lambda x: x.name,
    "time": lambda x: shown_duration(x.s),
    "calls": lambda x: f"{x.n:.0f}",
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
    slower = [r.label for r in measured if r.gain_interval[1] < 1]
    unclear = [r.label for r in measured if r.gain_interval[0] <= 1 <= r.gain_interval[1]]
    equal = [r.label for r in measured if r is not best and r.gain_interval[1] >= low]
    name, profile = next(iter(samples.profiles.items()))
    least_s, most_s = step_of_one_s(run)
    bound, points = bound_by(profile, samples.roof, wall_s=least_s), list[str]()
    if slower:
        points.append(f"slower on this device: {', '.join(slower)}")
    if equal and is_gain:
        points.append(f"its gain is not shown to be larger than that of {', '.join(equal)}")
    if most_s > UNSTEADY * least_s:
        points.append(
            f"the same step took {shown_duration(least_s)} and {shown_duration(most_s)} in this run, so that gains over eager steps may be those "
            "of a slow host"
        )
    if unclear:
        points.append(f"no gain is shown for {', '.join(unclear)}")
    headline = f"{best.label.capitalize()} has the largest measured gain: {best.gain:.2f}x the throughput."
    if not is_gain:
        headline = "No technique is shown to raise the throughput of this device."
    return Verdict(
        headline=headline,
        evidence=f"{best.label.capitalize()}: 95 % interval {low:.2f} to {high:.2f}; {best.what}. {name.capitalize()} takes {shown_duration(least_s)}: "
        f"{shown_percent(bound.memory)} of it is explained by reading weights at this device's bandwidth, "
        f"{shown_percent(bound.compute)} by arithmetic, and {shown_percent(bound.neither)} by neither.",
        objection=objections(points),
        scope="Each technique was measured alone: gains of several are not their product.",
        best=best.technique if is_gain else None,
        answer="yes" if is_gain else "no",
    )


def technique_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``TECHNIQUE_HEAD`` for each technique; name and reason where its gain is not known."""
    shown: list[tuple[str, ...]] = []
    for r in run.results:
        match r:
            case NotMeasured():
                shown.append((r.label, f"{r.status}: {r.reason}"))
                continue
            case TimeGain():
                pair, (low, high) = (shown_duration(r.without_s), shown_duration(r.with_s)), r.gain_interval
                interval = f"{low:.2f} to {high:.2f}"
            case MemoryGain():
                pair = f"{shown_percent(r.without_fraction, 1)} empty", f"{shown_percent(r.with_fraction, 1)} empty"
                interval = NOT_KNOWN
            case _:
                continue
        shown.append((f"{r.provenance.mark} {r.label}", *pair, f"{r.gain:.2f}×", interval, r.what))
    return shown


def roof_text(roof: Roof) -> str:
    """Return what the device reaches, in words."""
    return (
        f"This device reaches {three_digits(roof.flop_per_s / 1e9)} GFLOP/s in a large float32 product and "
        f"{three_digits(roof.bytes_per_s / 1e9)} GB/s in a large copy ●."
    )


def profile_title(name: str, profile: StepProfile, roof: Roof) -> str:
    """Return how long a step takes and what of it reading and arithmetic explain."""
    bound = bound_by(profile, roof)
    return (
        f"{name.capitalize()}: {shown_duration(profile.wall_s)}, {profile.n_operators:.0f} operators; {shown_percent(bound.memory)} explained by reading "
        f"weights, {shown_percent(bound.compute)} by arithmetic"
    )
