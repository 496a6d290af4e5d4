"""What techniques gain here: the verdict, claimed gains, what bounds a step, and the tables."""

from dataclasses import dataclass

from workbench.catalog.tables import claims
from workbench.core.columns import Columns
from workbench.core.runs import Run
from workbench.core.units import NOT_KNOWN, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict
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


def bound_by(profile: StepProfile, roof: Roof) -> BoundBy:
    """Return shares of a step's time that its arithmetic and its bytes need at what this device reaches, and what neither explains.

    Weights are read once a step; what caches and activations move comes on top, so the second is a lower bound.
    """
    compute = profile.flop / roof.flop_per_s / profile.wall_s
    memory = profile.bytes / roof.bytes_per_s / profile.wall_s
    return BoundBy(compute=compute, memory=memory, neither=max(0.0, 1 - max(compute, memory)))


def verdict(run: Run) -> Verdict | None:
    """Return the technique that gains most, and what remains to be gained; None where nothing could be measured."""
    measured, samples = run.rows(TimeGain), run.sampled(TechniquesSamples)
    if not measured:
        return None
    best = max(measured, key=lambda r: r.gain)
    slower = [r.label for r in measured if r.gain_interval[1] < 1]
    name, profile = next(iter(samples.profiles.items()))
    bound, (low, high) = bound_by(profile, samples.roof), best.gain_interval
    return Verdict(
        headline=f"{best.label.capitalize()} has the largest measured gain: {best.gain:.2f}x the throughput.",
        evidence=f"95 % interval {low:.2f} to {high:.2f}; {best.what}. {name.capitalize()} spends "
        f"{shown_percent(bound.memory)} of its time on reading weights at this device's bandwidth, "
        f"{shown_percent(bound.compute)} on arithmetic, and {shown_percent(bound.neither)} on neither, "
        "which is the room for improvement.",
        objection=(f"Slower on this device: {', '.join(slower)}. " if slower else "")
        + "Each was measured alone; together they gain less than the product of their gains.",
        best=best.technique,
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
    """Return how long a step takes and what bounds it."""
    shares = bound_by(profile, roof)
    share, kind = max((shares.memory, "memory"), (shares.compute, "arithmetic"), key=lambda pair: pair[0])
    return (
        f"{name.capitalize()}: {shown_duration(profile.wall_s)}, {profile.n_operators:.0f} operators, bound by {kind} "
        f"({shown_percent(share)} of its time)"
    )
