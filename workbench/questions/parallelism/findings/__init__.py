"""What a search for plans says: the verdict, the rows of its tables, and predictions compared with measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor

from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.statistics import Interval
from workbench.core.units import shown_cents, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.estimate.launch import launch_command
from workbench.estimate.prediction import LEVEL
from workbench.estimate.search import Plan, limit_of, nearest_plan
from workbench.questions.parallelism.findings.planned import Planned, plan_load, search
from workbench.questions.parallelism.findings.sensitivity import Sensitivity
from workbench.simulate.attained import MOST_TRIED, AttainedPlan
from workbench.simulate.planned import basis_of, combination_label, plan_label

__all__ = ["Planned", "plan_load", "search"]

SHOWN = 12  # plans of a table
NOT_SIMULATED = gettext("not simulated")
LITTLE_MORE = 1.1
PLAN_HEAD = (
    gettext("Plan ◌"),
    gettext("devices"),
    gettext("sequences"),
    gettext("mean TTFT"),
    gettext("mean TPOT"),
    gettext("SLO attainment △"),
    gettext("USD/h"),
    gettext("USD per million output tokens"),
    gettext("memory used"),
    gettext("constants"),
)
QUEUE_HEAD = (gettext("△ simulated"), "p50", "p90", "p99")
SENSITIVITY_HEAD = (gettext("Assumption ◌"), gettext("changed to"), gettext("USD/h"), gettext("cheapest plan"))
REASON_HEAD = (gettext("Combination"), gettext("reason that it cannot serve the load"))


def shown_attainment(attained: AttainedPlan) -> str:
    """Return the share of the requests that meet the SLO, with its interval."""
    share = attained.attainment_fraction
    return gettext("{value} ({low} to {high})").format(
        value=shown_percent(share.value), low=shown_percent(share.low), high=shown_percent(share.high)
    )


def plan_verdict(answer: Planned) -> Verdict:
    """Return the cheapest plan that meets the SLO in a simulation, what it costs, and what speaks against trusting it; or what binds."""
    simulated = answer.simulated
    if simulated is None:
        return _nothing_verdict(answer)
    plan, usd = simulated.plan, simulated.plan.usd_per_hour or 0.0
    asked = shown_percent(answer.spec.attainment_fraction)
    if answer.offered is None:
        headline = gettext(
            "No plan meets the SLO for {share} of the requests: on {plan} for {usd} USD/h, the cheapest whose "
            "mean latencies do, {attained} of the simulated requests meet it."
        ).format(share=asked, plan=plan_label(plan), usd=f"{usd:.2f}", attained=shown_attainment(simulated))
        change = _what_would_do(answer, simulated)
        return Verdict(
            headline=headline,
            evidence=f"{change} {_evidence(simulated)}",
            objection=_doubt(plan),
            answer="no",
            provenance=Provenance.SIMULATED,
        )
    headline = gettext(
        "The cheapest plan that meets the SLO for {share} of the requests is {plan} for {usd} USD/h: "
        "{attained} of the simulated requests meet it."
    ).format(share=asked, plan=plan_label(plan), usd=f"{usd:.2f}", attained=shown_attainment(simulated))
    points = [p for p in ((_doubt(plan) or "").rstrip("."), _faster(answer, simulated)) if p]
    by_means = _by_means(answer)
    basis = basis_of(plan) if plan.is_calibrated else None
    return Verdict(
        best=plan.device_id,
        headline=headline,
        evidence=_evidence(simulated),
        objection=objections(points),
        scope=(
            gettext("the interval is of step times, nominal {level}{by_means}.")
            if basis is None
            else gettext("{basis}; the interval is of step times, nominal {level}{by_means}.")
        ).format(basis=basis, level=shown_percent(LEVEL), by_means=by_means),
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
            return gettext("{plan} has {less} less TPOT p50 for {more} more money").format(
                plan=plan_label(other.plan), less=less, more=more
            )
    return None


def _evidence(simulated: AttainedPlan) -> str:
    plan, service, occupancy = simulated.plan, simulated.simulated.service, simulated.simulated.occupancy
    return gettext(
        "{usd} USD per million output tokens; TTFT p99 {ttft}, TPOT p99 {tpot} with Poisson arrivals and "
        "mixed lengths, at most {n} sequences on a replica; replicas are {busy} busy."
    ).format(
        usd=three_digits(plan.usd_per_million_output_tokens or 0),
        ttft=shown_duration(service.ttft_s.p99),
        tpot=shown_duration(service.tpot_s.p99),
        n=plan.concurrency,
        busy=shown_percent(occupancy.busy_fraction),
    )


def _by_means(answer: Planned) -> str:
    """Return what a cheaper plan would do that only its mean latencies speak for; empty without one."""
    cheaper = answer.by_means
    if cheaper is None:
        return ""
    label, usd = plan_label(cheaper.plan), cheaper.plan.usd_per_hour or 0.0
    return gettext(
        "; by mean latencies alone {plan} for {usd} USD/h would do, where {attained} of the requests meet it"
    ).format(plan=label, usd=f"{usd:.2f}", attained=shown_attainment(cheaper))


def _what_would_do(answer: Planned, nearest: AttainedPlan) -> str:
    """Return which limit binds where no plan holds, and what would have to change."""
    spec, service = answer.spec, nearest.simulated.service
    limits = (("TTFT", service.ttft_s.p99 or 0.0, spec.ttft_s), ("TPOT", service.tpot_s.p99 or 0.0, spec.tpot_s))
    name, p99, slo = max(limits, key=lambda limit: limit[1] / limit[2])
    least = floor(100 * nearest.attainment_fraction.low) / 100
    less = (
        gettext("ask for less (--attainment {least} holds on this plan), ").format(least=f"{least:g}")
        if least > 0
        else ""
    )
    return gettext(
        "{limit} binds: its p99 is {p99} with the predicted step times, the SLO {slo}, and what was asked for must hold with "
        "the longest step times too. Relax the {limit} ({option}), {less}allow other devices (--on), or measure this one for a "
        "narrower interval (`workbench calibrate`)."
    ).format(limit=name, p99=shown_duration(p99), slo=shown_duration(slo), option=f"--{name.lower()}-ms", less=less)


def _nothing_verdict(answer: Planned) -> Verdict:
    """Return the plan that comes nearest where no plan's mean latencies meet the SLO, and what would have to change for it."""
    reasons = [p.reason for p in answer.plans if p.reason]
    nearest, kinds = nearest_plan(answer.plans), gettext(", ").join(dict.fromkeys(map(_kind_of, reasons)))
    tried = gettext("{n} combinations were tried; they fail on: {kinds}.").format(
        n=len(answer.plans), kinds=kinds or gettext("prices")
    )
    if nearest is None:
        what = next(iter(reasons), gettext("no plan has a price"))
        evidence = f"{tried} {gettext('Allow other devices (--on) or precisions (--precision).')}"
        headline = gettext("No plan meets the SLO: {reason}.").format(reason=what)
    else:
        headline = gettext("No plan meets the SLO; the nearest is {plan}: {reason}.").format(
            plan=combination_label(nearest), reason=nearest.reason
        )
        evidence = f"{_change_for(nearest)} {tried}"
    return Verdict(headline=headline, evidence=evidence, answer="no", provenance=Provenance.ESTIMATED)


def _kind_of(reason: str) -> str:
    """Return the limit that a reason is about, as readers see it; the whole reason where it is about none."""
    limit = limit_of(reason)
    return {"memory": gettext("memory"), "TTFT": "TTFT", "TPOT": "TPOT", None: reason}[limit]


def _change_for(nearest: Plan) -> str:
    """Return what would have to change for a plan to serve the load."""
    name = limit_of(nearest.reason or "") or ""
    if name == "memory":
        return gettext("Allow more devices in a group or larger ones (--on), or use fewer bits (--precision).")
    return gettext(
        "It would need a {limit} of {factor} times the SLO: relax it ({option}), allow other devices (--on), or use fewer "
        "bits (--precision)."
    ).format(limit=name, factor=f"{nearest.excess or 0.0:.2f}", option=f"--{name.lower()}-ms")


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
            gettext("calibrated") if p.is_calibrated else gettext("of {device}").format(device=p.constants_of),
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
            gettext(
                "Rows that are “{cell}” stand by their mean latencies, with the fewest replicas that these allow. "
                "Simulated were the cheapest {n} combinations by mean latencies with the longest step times, each "
                "with as many replicas as the SLO attainment needs and no dearer than one that holds already, and "
                "the cheapest row as it stands."
            ).format(cell=NOT_SIMULATED, n=MOST_TRIED)
        )
    lines += [gettext("{n} more with a price.").format(n=len(rest))] if rest else []
    unpriced = [p for p in good[SHOWN:] if p.usd_per_hour is None]
    best = {p.device_name: p for p in reversed(unpriced)}
    if unpriced:
        named = "; ".join(f"{plan_label(p)}, TPOT {shown_duration(p.tpot_s)}" for p in reversed(best.values()))
        lines.append(
            gettext("{n} more without a price (give one with --prices), the fewest devices: {plans}.").format(
                n=len(unpriced), plans=named
            )
        )
    return lines


def reasons_by_precision(answer: Planned) -> list[str]:
    """Return for each device and precision why its smallest group cannot serve the load, in words."""
    first = {(p.device_name, p.precision): p.reason for p in reversed(answer.plans) if p.reason}
    return [f"{name}, {precision}: {reason}" for (name, precision), reason in reversed(first.items())]


def reason_rows(plans: Sequence[Plan]) -> list[tuple[str, str]]:
    """Return the cells of ``REASON_HEAD`` for each combination that cannot serve the load."""
    tried = gettext("{device}, {n} in a group, {precision}, {bits}-bit cache")
    rows = (
        (tried.format(device=p.device_name, n=p.n_devices, precision=p.precision, bits=p.kv_bits), p.reason)
        for p in plans
        if p.reason
    )
    return list(dict.fromkeys(rows))


def sensitivity_rows(answer: Planned) -> list[tuple[str, ...]]:
    """Return the cells of ``SENSITIVITY_HEAD``: two for each assumption, the one that moves the price most first."""
    return [
        (s.assumption, value, shown_cents(usd), plan_label(p) if p else gettext("no plan meets the SLO"))
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
        gettext("{n} replica(s)").format(n=n)
        if n == plan.n_replicas
        else gettext("{n} of the {replicas} replicas, with their share of the rate").format(
            n=n, replicas=plan.n_replicas
        )
    )
    return gettext(
        "{n} Poisson arrivals with lognormal lengths on {replicas}, each to the one with the fewest outstanding tokens: "
        "{attained} meet the SLO, goodput {goodput} requests/s, {preempted} preempted. Replicas are {busy} busy; at most "
        "{waiting} requests wait at one, and a cache is at most {full} full."
    ).format(
        n=f"{service.n_requests:,}",
        replicas=on,
        attained=shown_attainment(answer),
        goodput=three_digits(service.goodput_requests_per_s),
        preempted=service.n_preempted,
        busy=shown_percent(occupancy.busy_fraction),
        waiting=occupancy.waiting_max,
        full=shown_percent(occupancy.cache_max_fraction),
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
