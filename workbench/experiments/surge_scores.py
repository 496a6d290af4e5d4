"""What a surge did to answers, tenants and the time after it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.core.surge import SurgeSpec
from workbench.load.crowd import Outcome


def fair_shares(demands: Mapping[str, float], capacity: float) -> dict[str, float]:
    """Max-min fair shares: nobody gets more than was asked for, and what is left goes to the others alike (Bertsekas and Gallager 1992, 6.5.2)."""
    left, shares = capacity, {}
    for n_others, (name, wanted) in zip(
        range(len(demands), 0, -1), sorted(demands.items(), key=lambda x: x[1]), strict=True
    ):
        shares[name] = min(wanted, left / n_others)
        left -= shares[name]
    return shares


def is_good(o: Outcome, *, ttft_s: float, tpot_s: float) -> bool:
    """Answered completely and in time."""
    return o.error is None and o.ttft_s is not None and o.ttft_s <= ttft_s and (o.tpot_s is None or o.tpot_s <= tpot_s)


def scored(
    way: str, seen: Sequence[Outcome], spec: SurgeSpec, *, capacity_per_s: float, tpot_s: float
) -> dict[str, Any]:
    """A row of the results.

    Args:
        way: Of ``WAYS``.
        seen: All outcomes.
        spec: What was sent.
        capacity_per_s: Requests a second that the engine answers when it is full and not more.
        tpot_s: Promised time per token.
    """
    begin, end = spec.calm_s, spec.calm_s + spec.surge_s
    good = {id(o) for o in seen if is_good(o, ttft_s=spec.slo_ttft_s, tpot_s=tpot_s)}
    surge = [o for o in seen if begin <= o.due_s < end]
    n_good = sum(id(o) in good for o in surge)
    tenants = {}
    demands = {t: sum(o.client == t for o in surge) / spec.surge_s for t in {o.client for o in surge}}
    for tenant, share in fair_shares(demands, min(capacity_per_s, len(surge) / spec.surge_s)).items():
        got = sum(id(o) in good for o in surge if o.client == tenant) / spec.surge_s
        tenants[tenant] = {
            "asked_per_s": demands[tenant],
            "fair_per_s": share,
            "good_per_s": got,
            "of_fair": got / share,
        }
    ttft = [o.ttft_s for o in surge if o.ttft_s is not None and o.error is None]
    later = [o.due_s for o in seen if o.due_s >= end and id(o) not in good]
    parts = np.array([t["of_fair"] for t in tenants.values()])
    refused = [o for o in surge if o.status in {429, 503}]
    return {
        "way": way,
        "provenance": "measured",
        "goodput_per_s": n_good / spec.surge_s,
        "goodput_fraction": n_good / spec.surge_s / capacity_per_s,
        "offered_per_s": len(surge) / spec.surge_s,
        "ttft_p50_s": float(np.quantile(ttft, 0.5)) if ttft else None,
        "ttft_p99_s": float(np.quantile(ttft, 0.99)) if ttft else None,
        "refused_fraction": len(refused) / len(surge) if surge else None,
        "late_fraction": sum(id(o) not in good and o.error is None for o in surge) / max(1, len(surge)),
        "gave_up_fraction": sum(o.error == "gave up" for o in surge) / max(1, len(surge)),
        "degraded_fraction": sum(o.is_degraded for o in surge) / max(1, len(surge)),
        "retry_after_p50_s": _median([o.retry_after_s for o in refused]),
        "recovery_s": max(later) - end if later else 0.0,
        "least_of_fair": float(parts.min()) if parts.size else None,
        "jain": float(parts.sum() ** 2 / (parts.size * (parts**2).sum())) if parts.size and parts.any() else None,
        "tenants": tenants,
    }


def over_time(seen: Sequence[Outcome], spec: SurgeSpec, *, tpot_s: float) -> dict[str, list[float]]:
    """Requests asked, and answered in time, by the second in which they were due."""
    n = int(np.ceil(spec.calm_s + spec.surge_s + spec.after_s))
    asked, good = np.zeros(n), np.zeros(n)
    for o in seen:
        second = min(n - 1, int(o.due_s))
        asked[second] += 1
        good[second] += is_good(o, ttft_s=spec.slo_ttft_s, tpot_s=tpot_s)
    return {"asked": asked.tolist(), "good": good.tolist()}


def _median(values: Sequence[float | None]) -> float | None:
    found = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.median(found)) if found else None
