"""How published claims stand beside measured gains, and what bounds a step: of finished runs, without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.catalog.tables import Claim

QUESTION = 4
CLAIMED = {
    ("dynamic batching", "throughput_gain"): ("batching", "gain"),
    ("asynchronous inference", "latency_reduction"): ("overlap", "reduction_percent"),
    ("memory pool", "fragmentation_reduction"): ("pool", "reduction_percent"),
    ("operator fusion", "kernel_count_reduction"): ("fusion", "operators_percent"),
    ("mixed precision", "speedup"): ("precision", "gain"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimHere:
    """A claim of the FAQ beside what was measured on this device."""

    claim: Claim
    outcome: str
    """"confirmed", "partly", "refuted" or "not yet tested"."""
    measured: float | None
    shown: str


def claims_here(claims: Sequence[Claim], rows: Sequence[Mapping[str, Any]]) -> list[ClaimHere]:
    """Each claim about a gain beside the measured one: inside its range, the same direction but outside, or neither."""
    by_name = {r["technique"]: r for r in rows}
    told = []
    for claim in (c for c in claims if c.question == QUESTION):
        name, figure = CLAIMED.get((claim.technique, claim.metric), (None, ""))
        value = by_name.get(name or "", {}).get(figure)
        if value is None or claim.low is None or claim.high is None:
            told.append(ClaimHere(claim=claim, outcome="not yet tested", measured=None, shown="–"))
            continue
        low, high = (0.9 * claim.low, 1.1 * claim.high) if claim.low == claim.high else (claim.low, claim.high)
        better = value > (1.05 if claim.unit == "ratio" else 5.0)
        outcome = "confirmed" if low <= value <= high else "partly" if better else "refuted"
        shown = f"{value:.2f}×" if claim.unit == "ratio" else f"{value:.0f} %"
        told.append(ClaimHere(claim=claim, outcome=outcome, measured=float(value), shown=shown))
    return told


def bound_by(profile: Mapping[str, Any], roof: Mapping[str, float]) -> dict[str, float]:
    """Shares of a step's time that its arithmetic and its bytes need at what this device reaches, and what neither explains.

    Weights are read once a step; what caches and activations move comes on top, so the second is a lower bound.
    """
    compute = profile["flop"] / roof["flop_per_s"] / profile["wall_s"]
    memory = profile["bytes"] / roof["bytes_per_s"] / profile["wall_s"]
    return {"compute": compute, "memory": memory, "neither": max(0.0, 1 - max(compute, memory))}
