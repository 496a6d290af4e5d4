"""What a search for plans says: the verdict, the rows of its tables, and predictions compared with measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor

from workbench.core.provenance import Provenance
from workbench.core.statistics import Interval
from workbench.core.units import shown_cents, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.estimate.launch import launch_command
from workbench.estimate.prediction import LEVEL
from workbench.estimate.search import Plan, nearest_plan
from workbench.questions.parallelism.findings.planned import Planned, plan_load, search
from workbench.questions.parallelism.findings.sensitivity import Sensitivity
from workbench.simulate.attained import MOST_TRIED, AttainedPlan
from workbench.simulate.planned import basis_of, combination_label, plan_label

__all__ = ["Planned", "plan_load", "search"]

SHOWN = 12  # plans of a table
NOT_SIMULATED = "not simulated"
LITTLE_MORE = 1.1
PLAN_HEAD = (
    "Plan ◌",
    "devices",
    "sequences",
    "mean TTFT",
    "mean TPOT",
    "SLO attainment △",
    "USD/h",
    "USD per million output tokens",
    "memory used",
    "constants",
)
QUEUE_HEAD = ("△ simulated", "p50", "p90", "p99")
SENSITIVITY_HEAD = ("Assumption ◌", "changed to", "USD/h", "cheapest plan")
REASON_HEAD = ("Combination", "reason that it cannot serve the load")


def shown_attainment(attained: AttainedPlan) -> str:
    """Return the share of the requests that meet the SLO, with its interval."""
    share = attained.attainment_fraction
    return f"{shown_percent(share.value)} ({shown_percent(share.low)} to {shown_percent(share.high)})"


def plan_verdict(answer: Planned) -> Verdict:
    """Return the cheapest plan that meets the SLO in a simulation, what it costs, and what speaks against trusting it; or what binds."""
    simulated = answer.simulated
    if simulated is None:
        return _nothing_verdict(answer)
    plan, usd = simulated.plan, simulated.plan.usd_per_hour or 0.0
    asked = shown_percent(answer.spec.attainment_fraction)
    if answer.offered is None:
        headline = (
            f"No plan meets the SLO for {asked} of the requests: on {plan_label(plan)} for {usd:.2f} USD/h, the cheapest whose mean "
            f"latencies do, {shown_attainment(simulated)} of the simulated requests meet it."
        )
        change = _what_would_do(answer, simulated)
        return Verdict(
            headline=headline,
            evidence=f"{change} {_evidence(simulated)}",
            objection=_doubt(plan),
            answer="no",
            provenance=Provenance.SIMULATED,
        )
    headline = (
        f"The cheapest plan that meets the SLO for {asked} of the requests is {plan_label(plan)} for {usd:.2f} USD/h: "
        f"{shown_attainment(simulated)} of the simulated requests meet it."
    )
    points = [p for p in ((_doubt(plan) or "").rstrip("."), _faster(answer, simulated)) if p]
    by_means = _by_means(answer)
    calibrated = "" if not plan.is_calibrated else f"{basis_of(plan)}; "
    return Verdict(
        best=plan.device_id,
        headline=headline,
        evidence=_evidence(simulated),
        objection=objections(points),
        scope=f"{calibrated}the interval is of step times, nominal {shown_percent(LEVEL)}{by_means}.",
        provenance=Provenance.SIMULATED,
    )


def _doubt(plan: Plan) -> str | None:
    """Return why the predicted times of a plan may be off; None where they stand on measurements of such a plan."""
    return None if plan.is_calibrated else f"{basis_of(plan)}."


def _faster(answer: Planned, offered: AttainedPlan) -> str | None:
    """Return a plan that gives shorter steps for little more money; None without one."""
    usd, tpot = offered.plan.usd_per_hour or 0.0, offered.simulated.service.tpot_s.p50 or 0.0
    for other in answer.attained[1:]:
        price, own = other.plan.usd_per_hour or 0.0, other.simulated.service.tpot_s.p50 or 0.0
        if usd and tpot and price <= LITTLE_MORE * usd and own * LITTLE_MORE < tpot:
            less, more = shown_percent(1 - own / tpot), shown_percent(price / usd - 1)
            return f"{plan_label(other.plan)} has {less} less TPOT p50 for {more} more money"
    return None


def _evidence(simulated: AttainedPlan) -> str:
    plan, service, occupancy = simulated.plan, simulated.simulated.service, simulated.simulated.occupancy
    return (
        f"{three_digits(plan.usd_per_million_output_tokens or 0)} USD per million output tokens; TTFT p99 "
        f"{shown_duration(service.ttft_s.p99)}, TPOT p99 {shown_duration(service.tpot_s.p99)} with Poisson arrivals and mixed lengths, at "
        f"most {plan.concurrency} sequences on a replica; replicas are {shown_percent(occupancy.busy_fraction)} busy."
    )


def _by_means(answer: Planned) -> str:
    """Return what a cheaper plan would do that only its mean latencies speak for; empty without one."""
    cheaper = answer.by_means
    if cheaper is None:
        return ""
    label, usd = plan_label(cheaper.plan), cheaper.plan.usd_per_hour or 0.0
    return f"; by mean latencies alone {label} for {usd:.2f} USD/h would do, where {shown_attainment(cheaper)} of the requests meet it"


def _what_would_do(answer: Planned, nearest: AttainedPlan) -> str:
    """Return which limit binds where no plan holds, and what would have to change."""
    spec, service = answer.spec, nearest.simulated.service
    limits = (("TTFT", service.ttft_s.p99 or 0.0, spec.ttft_s), ("TPOT", service.tpot_s.p99 or 0.0, spec.tpot_s))
    name, p99, slo = max(limits, key=lambda limit: limit[1] / limit[2])
    least = floor(100 * nearest.attainment_fraction.low) / 100
    less = f"ask for less (--attainment {least:g} holds on this plan), " if least > 0 else ""
    return (
        f"{name} binds: its p99 is {shown_duration(p99)} with the predicted step times, the SLO {shown_duration(slo)}, and what was asked "
        f"for must hold with the longest step times too. Relax the {name} (--{name.lower()}-ms), {less}allow other devices (--on), or "
        "measure this one for a narrower interval (`workbench calibrate`)."
    )


def _nothing_verdict(answer: Planned) -> Verdict:
    """Return the plan that comes nearest where no plan's mean latencies meet the SLO, and what would have to change for it."""
    reasons = [p.reason for p in answer.plans if p.reason]
    nearest, kinds = nearest_plan(answer.plans), ", ".join(dict.fromkeys(r.split(":")[0] for r in reasons)) or "prices"
    tried = f"{len(answer.plans)} combinations were tried; they fail on: {kinds}."
    if nearest is None:
        what = next(iter(reasons), "no plan has a price")
        evidence, headline = (
            f"{tried} Allow other devices (--on) or precisions (--precision).",
            f"No plan meets the SLO: {what}.",
        )
    else:
        headline = f"No plan meets the SLO; the nearest is {combination_label(nearest)}: {nearest.reason}."
        evidence = f"{_change_for(nearest)} {tried}"
    return Verdict(headline=headline, evidence=evidence, answer="no", provenance=Provenance.ESTIMATED)


def _change_for(nearest: Plan) -> str:
    """Return what would have to change for a plan to serve the load."""
    name, _, _ = (nearest.reason or "").partition(":")
    if name == "memory":
        return "Allow more devices in a group or larger ones (--on), or use fewer bits (--precision)."
    return (
        f"It would need a {name} of {nearest.excess or 0.0:.2f} times the SLO: relax it (--{name.lower()}-ms), allow other devices (--on), or use "
        "fewer bits (--precision)."
    )


def plan_rows(answer: Planned) -> list[tuple[str, ...]]:
    """Return the cells of ``PLAN_HEAD``: simulated plans, then the cheapest by their mean latencies; diamonds are beaten by none there."""
    judged = [*answer.attained, *([answer.by_means] if answer.by_means else [])]
    simulated = [(a.plan, shown_attainment(a)) for a in judged]
    known = {a.plan for a in judged}
    by_means = [(p, NOT_SIMULATED) for p in answer.plans if p.reason is None and p not in known]
    return [
        (
            ("◆ " if p in answer.best else "") + plan_label(p),
            str(p.total_devices),
            str(p.concurrency),
            shown_duration(p.ttft_s),
            shown_duration(p.tpot_s),
            attainment,
            shown_cents(p.usd_per_hour),
            three_digits(p.usd_per_million_output_tokens),
            shown_percent(p.memory_fraction),
            "calibrated" if p.is_calibrated else f"of {p.constants_of}",
        )
        for p, attainment in [*simulated, *by_means][:SHOWN]
    ]


def hidden_plans(answer: Planned) -> list[str]:
    """Return what the table leaves out, in words: why rows were not simulated, further plans, and devices without a price."""
    good = [p for p in answer.plans if p.reason is None]
    rest = [p for p in good[SHOWN:] if p.usd_per_hour is not None]
    lines = []
    if any(cell == NOT_SIMULATED for row in plan_rows(answer) for cell in row):
        lines.append(
            f"Rows that are “{NOT_SIMULATED}” stand by their mean latencies, with the fewest replicas that these allow. Simulated were the "
            f"cheapest {MOST_TRIED} combinations by mean latencies with the longest step times, each with as many replicas as the SLO attainment "
            "needs and no dearer than one that holds already, and the cheapest row as it stands."
        )
    lines += [f"{len(rest)} more with a price."] if rest else []
    unpriced = [p for p in good[SHOWN:] if p.usd_per_hour is None]
    best = {p.device_name: p for p in reversed(unpriced)}
    if unpriced:
        named = "; ".join(f"{plan_label(p)}, TPOT {shown_duration(p.tpot_s)}" for p in reversed(best.values()))
        lines.append(f"{len(unpriced)} more without a price (give one with --prices), the fewest devices: {named}.")
    return lines


def reasons_by_precision(answer: Planned) -> list[str]:
    """Return for each device and precision why its smallest group cannot serve the load, in words."""
    first = {(p.device_name, p.precision): p.reason for p in reversed(answer.plans) if p.reason}
    return [f"{name}, {precision}: {reason}" for (name, precision), reason in reversed(first.items())]


def reason_rows(plans: Sequence[Plan]) -> list[tuple[str, str]]:
    """Return the cells of ``REASON_HEAD`` for each combination that cannot serve the load."""
    tried = "{0.device_name}, {0.n_devices} in a group, {0.precision}, {0.kv_bits}-bit cache"
    return list(dict.fromkeys((tried.format(p), p.reason) for p in plans if p.reason))


def sensitivity_rows(answer: Planned) -> list[tuple[str, ...]]:
    """Return the cells of ``SENSITIVITY_HEAD``: two for each assumption, the one that moves the price most first."""
    return [
        (s.assumption, value, shown_cents(usd), plan_label(p) if p else "no plan meets the SLO")
        for s in answer.sensitivities
        for value, p, usd in ((s.low, s.plan_low, s.usd_low), (s.high, s.plan_high, s.usd_high))
    ]


def queue_rows(answer: AttainedPlan) -> list[tuple[str, ...]]:
    """Return the cells of ``QUEUE_HEAD`` for each latency."""
    service = answer.simulated.service
    latencies = (("TTFT", service.ttft_s), ("TPOT", service.tpot_s), ("E2E", service.e2e_s))
    return [(name, *(shown_duration(v or None) for v in (s.p50, s.p90, s.p99))) for name, s in latencies]


def queue_text(answer: AttainedPlan) -> str:
    """Return how the simulated requests fared on a plan."""
    plan, n, service, occupancy = (
        answer.plan,
        answer.simulated.n_replicas,
        answer.simulated.service,
        answer.simulated.occupancy,
    )
    on = (
        f"{n} replica(s)"
        if n == plan.n_replicas
        else f"{n} of the {plan.n_replicas} replicas, with their share of the rate"
    )
    return (
        f"{service.n_requests:,} Poisson arrivals with lognormal lengths on {on}, each to the one with the fewest outstanding tokens: "
        f"{shown_attainment(answer)} meet the SLO, goodput {three_digits(service.goodput_requests_per_s)} requests/s, "
        f"{service.n_preempted} preempted. Replicas are {shown_percent(occupancy.busy_fraction)} busy; at most {occupancy.waiting_max} "
        f"requests wait at one, and a cache is at most {shown_percent(occupancy.cache_max_fraction)} full."
    )


def launch_lines(answer: Planned) -> str:
    """Return how vLLM is started for the plan that is offered."""
    if answer.offered is None:
        return "# no plan meets the SLO"
    plan = answer.offered.plan
    line = launch_command(answer.spec.model, plan, answer.spec, spec=answer.model)
    if plan.n_replicas == 1:
        return line
    return f"{line}\n# {plan.n_replicas} of these behind a load balancer, each on {plan.n_devices} device(s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedPlan:
    """A plan that was simulated, in the JSON form."""

    plan: Plan
    total_devices: int
    attainment_fraction: Interval
    """Share of the simulated requests that meet the SLO, with its nominal 80 % interval of step times."""
    does_hold: bool
    """Whether the lower end is at least the attainment that was asked for."""
    launch_command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPlan:
    """A plan whose mean latencies meet the SLO, or why it is none, in the JSON form."""

    plan: Plan
    total_devices: int
    is_pareto: bool
    """Whether no other plan beats it in both cost and time per token."""
    launch_command: str | None
    """None where the load cannot be served so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanList:
    """All plans for a load, as ``plan --json`` prints them."""

    model: str
    requests_per_s: float
    """Request rate that is planned for; of a trace, that of its busiest minute."""
    input_tokens: int
    output_tokens: int
    attainment_fraction: float
    """Share of the requests that must meet the SLO."""
    prices: Mapping[str, str]
    """Where the price of each device is from."""
    simulated: Sequence[OfferedPlan]
    """Plans with enough replicas for the SLO in a simulation, the cheapest first; the nearest one where none holds."""
    plans: Sequence[ListedPlan]
    """All combinations by their mean latencies, without queues."""
    sensitivity: Sequence[Sensitivity]
    provenance: Provenance = Provenance.ESTIMATED


def plan_list(answer: Planned) -> PlanList:
    """Return all plans with their launch commands."""
    return PlanList(
        model=answer.model.name,
        requests_per_s=answer.spec.requests_per_s,
        input_tokens=answer.spec.input_tokens,
        output_tokens=answer.spec.output_tokens,
        attainment_fraction=answer.spec.attainment_fraction,
        simulated=[
            OfferedPlan(
                plan=a.plan,
                total_devices=a.plan.total_devices,
                attainment_fraction=a.attainment_fraction,
                does_hold=a.does_hold,
                launch_command=launch_command(answer.spec.model, a.plan, answer.spec, spec=answer.model),
            )
            for a in answer.attained
        ],
        prices={o.device_id: o.price_label for o in answer.offers},
        plans=[
            ListedPlan(
                plan=p,
                total_devices=p.total_devices,
                is_pareto=p in answer.best,
                launch_command=None
                if p.reason
                else launch_command(answer.spec.model, p, answer.spec, spec=answer.model),
            )
            for p in answer.plans
        ],
        sensitivity=answer.sensitivities,
    )
