"""Plans that meet their SLO in a simulation: the mean latencies rank them, and replicas are added until enough requests meet it.

A plan is offered where as many of the simulated requests as were asked for meet the SLO also with the longest step times of the
interval. A replica may also run fewer sequences at once than the mean latencies would allow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, hypot, inf

from workbench.catalog.model_spec import ModelSpec
from workbench.core.statistics import Interval
from workbench.estimate.prediction import Z
from workbench.estimate.search import SLACK, Curve, Load, Offer, Plan, choose_plans, pareto, settled, with_replicas
from workbench.simulate.costs import load_log_errors, load_sigmas
from workbench.simulate.planned import PlanTraffic, SimulatedPlan

MOST_TRIED = 6  # combinations that are simulated
MOST_TIMES = 8  # a combination's replicas by its means that are tried
LOOKED_SHARE = 0.4  # of the requests, while the number of replicas is looked for
MOST_AFTER, AFTER = 4, 1.1  # times, and factor, that replicas are added where all requests say that these are too few
NEAR = 20  # one in so many replicas more than the fewest is near enough


@dataclass(frozen=True, slots=True, kw_only=True)
class AttainedPlan:
    """A plan, and how many of the simulated requests meet the SLO on it."""

    plan: Plan
    attainment_fraction: Interval
    """Share of the requests that meet the SLO, with its ends where all steps take longer or shorter by their nominal 80 % interval."""
    does_hold: bool
    """Whether the lower end is what was asked for."""
    simulated: SimulatedPlan


def attained_plans(
    model: ModelSpec, load: Load, offers: Sequence[Offer], combinations: Sequence[Curve]
) -> list[AttainedPlan]:
    """Return plans with enough replicas for the SLO attainment of the load, the cheapest first.

    Where no combination reaches it, the cheapest by its mean latencies alone, which ``does_hold`` then tells. Empty where none has
    mean latencies within the SLO, or none has a price.
    """
    known = {offer.device_id: offer for offer in offers}
    best: list[AttainedPlan] = []
    for plan in _to_try(model, combinations, load, known)[:MOST_TRIED]:
        usd = plan.usd_per_hour or 0.0
        least_usd = min((a.plan.usd_per_hour or 0.0 for a in best), default=inf)
        most = MOST_TIMES * plan.n_replicas
        if best and usd > 0:
            most = min(most, int(least_usd * plan.n_replicas / usd * (1 - SLACK)))
        offer = known[plan.device_id]
        found = _enough(PlanTraffic(model, plan, load, offer), most, _longer(model, plan, offer))
        best += [found] if found else []
    if best:
        return sorted(best, key=lambda a: (a.plan.usd_per_hour or 0.0, a.plan.tpot_s))
    return [judged_plan(model, load, offers, nearest) for nearest in pareto(choose_plans(combinations, load))[:1]]


def judged_plan(model: ModelSpec, load: Load, offers: Sequence[Offer], plan: Plan) -> AttainedPlan:
    """Return how many of the simulated requests meet the SLO on a plan with the replicas that it has."""
    offer = next(o for o in offers if o.device_id == plan.device_id)
    return _judged(PlanTraffic(model, plan, load, offer), plan.n_replicas, _longer(model, plan, offer))


def _to_try(model: ModelSpec, combinations: Sequence[Curve], load: Load, offers: Mapping[str, Offer]) -> list[Plan]:
    """Return the combinations as their mean latencies with the longest step times rank them, the cheapest first.

    Of each split and precision there is one: caches of both kinds differ by little.
    """
    plans = list[Plan]()
    for curve in combinations:
        if curve.plan.reason is not None or curve.usd_per_device_hour is None:
            continue
        # Times that are all longer by a factor are the same as a shorter SLO and a request rate higher by it.
        step, prompt = _longer(model, curve.plan, offers[curve.plan.device_id])
        tight = replace(
            load, requests_per_s=load.requests_per_s * step, ttft_s=load.ttft_s / prompt, tpot_s=load.tpot_s / step
        )
        plan = settled(curve, tight)
        if plan.reason is None:
            usd = (plan.usd_per_hour or 0.0) / (load.requests_per_s * load.output_tokens * 3600) * 1e6
            plans.append(replace(plan, usd_per_million_output_tokens=usd))
    plans.sort(key=lambda p: (p.usd_per_hour or 0.0, p.tpot_s))
    return list({(p.device_id, p.split, p.precision): p for p in reversed(plans)}.values())[::-1]


def _longer(model: ModelSpec, plan: Plan, offer: Offer) -> tuple[float, float]:
    """Return the factors of steps and prompts at the longer end of their interval."""
    machine = replace(offer.machine, split=plan.split)
    step, prompt = load_log_errors(model, plan.precision, machine, is_own=offer.is_calibrated)
    _, sigma = load_sigmas(machine)
    return exp(Z * hypot(step, sigma)), exp(Z * hypot(prompt, sigma))


def _enough(traffic: PlanTraffic, most: int, longer: tuple[float, float]) -> AttainedPlan | None:
    """Return the plan with the fewest replicas, up to the most, whose attainment holds."""
    asked, slow = traffic.load.attainment_fraction, traffic.cost.scaled(*longer)

    def holds(n: int) -> bool:
        looked = traffic.simulated(n, slow, requests_share=LOOKED_SHARE)
        return looked.service.attainment_fraction >= asked

    n = fewest(holds, start=min(traffic.plan.n_replicas, most), most=most)
    if n is None:
        return None
    for _ in range(MOST_AFTER):
        looked = traffic.simulated(n, slow)
        if looked.service.attainment_fraction >= asked:
            judged = _judged(traffic, n, longer, slow=looked)
            return judged if judged.does_hold else None
        n = ceil(AFTER * n)
        if n > most:
            return None
    return None


def fewest(holds: Callable[[int], bool], *, start: int, most: int) -> int | None:
    """Return the least number from half of the start on, or one near it, for which something holds that holds for all greater ones.

    None where it does not hold up to the most.
    """
    if most < 1:
        return None
    high, low = start, max(1, start // 2)
    while not holds(high):
        if high >= most:
            return None
        low = high + 1
        high = min(most, max(low, high * 3 // 2))
    while high - low > high // NEAR:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high


def _judged(
    traffic: PlanTraffic, n_replicas: int, longer: tuple[float, float], *, slow: SimulatedPlan | None = None
) -> AttainedPlan:
    """Return a plan with so many replicas and all of its requests, with step times as predicted and at the ends of their interval.

    ``slow`` is what the longest step times do, where it is known already.
    """
    step, prompt = longer
    middle = traffic.simulated(n_replicas, traffic.cost)
    fast = traffic.simulated(n_replicas, traffic.cost.scaled(1 / step, 1 / prompt))
    slow = slow or traffic.simulated(n_replicas, traffic.cost.scaled(step, prompt))
    shares = [s.service.attainment_fraction for s in (middle, slow, fast)]
    return AttainedPlan(
        plan=with_replicas(traffic.plan, n_replicas),
        attainment_fraction=Interval(shares[0], min(shares), max(shares)),
        does_hold=min(shares) >= traffic.load.attainment_fraction,
        simulated=middle,
    )
