"""Goodput, fairness and recovery of a surge."""

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.load.crowd import Outcome
from workbench.questions.surge.rows import Outcomes, OverTime, SurgeResult, TenantResult
from workbench.questions.surge.spec import SurgeSpec


def fair_shares(demands: Mapping[str, float], capacity: float) -> dict[str, float]:
    """Return max-min fair shares: no demand is exceeded, and what is left is divided equally (Bertsekas and Gallager 1992, 6.5.2)."""
    left, shares = capacity, {}
    for n_before, name in enumerate(sorted(demands, key=lambda name: demands[name])):
        shares[name] = min(demands[name], left / (len(demands) - n_before))
        left -= shares[name]
    return shares


def is_good(o: Outcome, *, ttft_s: float, tpot_s: float) -> bool:
    """Return whether a request was answered completely and met the SLO."""
    return o.error is None and o.ttft_s is not None and o.ttft_s <= ttft_s and (o.tpot_s is None or o.tpot_s <= tpot_s)


def scored(
    controls: str, outcomes: Sequence[Outcome], spec: SurgeSpec, *, capacity_per_s: float, tpot_s: float
) -> SurgeResult:
    """Return the row of a set of controls; ``capacity_per_s`` are the requests that the engine answers when it is full and not more."""
    begin, end = spec.calm_s, spec.calm_s + spec.surge_s
    good = {id(o) for o in outcomes if is_good(o, ttft_s=spec.slo_ttft_s, tpot_s=tpot_s)}
    surge = [o for o in outcomes if begin <= o.due_s < end]
    n_good = sum(id(o) in good for o in surge)
    tenants = {}
    demands = {t: sum(o.client == t for o in surge) / spec.surge_s for t in {o.client for o in surge}}
    for tenant, share in fair_shares(demands, min(capacity_per_s, len(surge) / spec.surge_s)).items():
        got = sum(id(o) in good for o in surge if o.client == tenant) / spec.surge_s
        tenants[tenant] = TenantResult(
            asked_per_s=demands[tenant], fair_per_s=share, good_per_s=got, fair_share_fraction=got / share
        )
    ttft = [o.ttft_s for o in surge if o.ttft_s is not None and o.error is None]
    later = [o.due_s for o in outcomes if o.due_s >= end and id(o) not in good]
    parts = np.array([t.fair_share_fraction for t in tenants.values()])
    refused = [o for o in surge if o.status in {429, 503}]
    return SurgeResult(
        controls=controls,
        goodput_per_s=n_good / spec.surge_s,
        goodput_fraction=n_good / spec.surge_s / capacity_per_s,
        offered_per_s=len(surge) / spec.surge_s,
        ttft_p50_s=float(np.quantile(ttft, 0.5)) if ttft else None,
        ttft_p99_s=float(np.quantile(ttft, 0.99)) if ttft else None,
        refused_fraction=len(refused) / len(surge) if surge else None,
        late_fraction=sum(id(o) not in good and o.error is None for o in surge) / max(1, len(surge)),
        timed_out_fraction=sum(o.error == "gave up" for o in surge) / max(1, len(surge)),
        degraded_fraction=sum(o.is_degraded for o in surge) / max(1, len(surge)),
        retry_after_p50_s=_median([o.retry_after_s for o in refused]),
        recovery_s=max(later) - end if later else 0.0,
        least_fair_share_fraction=float(parts.min()) if parts.size else None,
        jain_index=float(parts.sum() ** 2 / (parts.size * (parts**2).sum())) if parts.size and parts.any() else None,
        tenants=tenants,
    )


def over_time(outcomes: Sequence[Outcome], spec: SurgeSpec, *, tpot_s: float) -> OverTime:
    """Return the requests asked, and answered in time, by the second in which they were due."""
    n = int(np.ceil(spec.calm_s + spec.surge_s + spec.after_s))
    asked, good = np.zeros(n), np.zeros(n)
    for o in outcomes:
        second = min(n - 1, int(o.due_s))
        asked[second] += 1
        good[second] += is_good(o, ttft_s=spec.slo_ttft_s, tpot_s=tpot_s)
    return OverTime(asked=asked.tolist(), good=good.tolist(), requests=_outcomes(outcomes))


def _outcomes(outcomes: Sequence[Outcome]) -> Outcomes:
    return Outcomes(
        client=[o.client for o in outcomes],
        due_s=[round(o.due_s, 4) for o in outcomes],
        first_s=[_rounded(o.first_s) for o in outcomes],
        end_s=[_rounded(o.end_s) for o in outcomes],
        status=[o.status for o in outcomes],
        error=[o.error for o in outcomes],
        tpot_s=[_rounded(o.tpot_s) for o in outcomes],
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _median(values: Sequence[float | None]) -> float | None:
    found = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.median(found)) if found else None
