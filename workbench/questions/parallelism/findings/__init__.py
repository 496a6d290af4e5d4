"""What a search for plans says: the verdict, the rows of its tables, and predictions compared with measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.catalog.prices import own_prices
from workbench.catalog.served import Served
from workbench.core.errors import NotAvailable
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.traces import read_trace
from workbench.core.units import shown_cents, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict
from workbench.estimate.calibration import cells_of
from workbench.estimate.device_calibration import CALIBRATIONS, machine_of, offers
from workbench.estimate.fitting import DECODED, kv_bits_of, plan_of
from workbench.estimate.launch import launch_command
from workbench.estimate.machine import Split
from workbench.estimate.precision import OFFERED, STORED, chosen_precision, offered_precisions
from workbench.estimate.prediction import interval_around
from workbench.estimate.search import Curve, Load, Offer, Plan, choose_plans, curves, pareto
from workbench.estimate.step_time import decode_step_s
from workbench.questions.parallelism.findings.sensitivity import Sensitivity, sensitivities
from workbench.questions.parallelism.spec import PlanSpec
from workbench.simulate.planned import SimulatedPlan, basis_of, plan_label, simulate_plan

MOST_TIMES = 8  # a plan's replicas that are tried to meet the SLO for most requests
ATTAINMENT = 0.95  # of the requests, for the number of replicas that is advised
SHOWN = 12  # plans of a table
PLAN_HEAD = (
    "Plan ◌",
    "devices",
    "sequences",
    "TTFT",
    "TPOT",
    "USD/h",
    "USD per million output tokens",
    "memory used",
    "constants",
)
QUEUE_HEAD = ("△ simulated", "p50", "p90", "p99")
SENSITIVITY_HEAD = ("Assumption ◌", "changed to", "USD/h", "cheapest plan")
REASON_HEAD = ("Combination", "reason that it cannot serve the load")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """All plans for a load; what takes longer than the search is computed when it is first asked for."""

    spec: PlanSpec
    model: ModelSpec
    offers: Sequence[Offer]
    curves: Sequence[Curve]
    plans: Sequence[Plan]
    best: Sequence[Plan]
    """Plans that no other beats in both cost and time per token, cheapest first."""

    @cached_property
    def _offer(self) -> Offer:
        return next(o for o in self.offers if o.device_id == self.best[0].device_id)

    @cached_property
    def sensitivities(self) -> list[Sensitivity]:
        """The cheapest plan under changed assumptions; empty without a plan."""
        if not self.best:
            return []
        asked = precisions_of(self.spec, self.model)
        return sensitivities(self.model, self.spec, self.offers, self.best[0], precisions=asked)

    @cached_property
    def queue(self) -> SimulatedPlan:
        """The load simulated on the cheapest plan."""
        return simulate_plan(self.model, self.best[0], self.spec, self._offer)

    @cached_property
    def n_enough_replicas(self) -> int | None:
        """Replicas of the cheapest plan that meet the SLO for most simulated requests; None where too many would be needed."""
        return replicas_that_meet(self.model, self.best[0], self.spec, self._offer, attainment=ATTAINMENT)


def plan_load(spec: PlanSpec) -> Planned:
    """Return all plans for a load; raises ``NotAvailable`` for a model or a device that cannot be planned."""
    model = language_model_from(spec.model)
    if not model.kv_layers:
        raise NotAvailable(
            f"What the layers of {model.name} keep of a token is not in the catalogue.", remedy="Choose another model."
        )
    spec = _traced(spec)
    prices = own_prices(Path(spec.prices)) if spec.prices else None
    candidates = offers(spec.devices, own=workbench_home() / CALIBRATIONS, prices=prices)
    by_sequences = curves(model, spec, candidates, precisions=precisions_of(spec, model))
    plans = choose_plans(by_sequences, spec)
    return Planned(spec=spec, model=model, offers=candidates, curves=by_sequences, plans=plans, best=pareto(plans))


def precisions_of(spec: PlanSpec, model: ModelSpec) -> tuple[str, ...]:
    """Return the precisions to plan: of those that a plan offers by itself, the ones that make the checkpoint smaller."""
    offered = offered_precisions(model) if STORED in spec.precisions else ()
    asked = [p for p in spec.precisions if not offered or p not in OFFERED or p in offered]
    return tuple(dict.fromkeys(chosen_precision(model, p) for p in asked))


def _traced(spec: PlanSpec) -> PlanSpec:
    """Return the spec with the load of its trace: the rate of the busiest minute, and the mean lengths."""
    if not spec.trace:
        return spec
    trace = read_trace(Path(spec.trace))
    prompt, answer = trace.mean_tokens
    return replace(
        spec, requests_per_s=trace.busiest_per_s, input_tokens=round(prompt), output_tokens=max(1, round(answer))
    )


def plan_verdict(answer: Planned) -> Verdict:
    """Return the cheapest plan, what it costs, and what speaks against trusting it; or what binds."""
    if not answer.best:
        reasons = [p.reason for p in answer.plans if p.reason]
        binding = next((r for r in reasons if not r.startswith("memory")), next(iter(reasons), "no plan has a price"))
        kinds = ", ".join(dict.fromkeys(r.split(":")[0] for r in reasons)) or "prices"
        return Verdict(
            headline=f"No plan meets the SLO: {binding}.",
            evidence=f"{len(answer.plans)} combinations were tried; they fail on: {kinds}.",
            objection="Relax the limit that binds, allow other devices, or use fewer bits.",
            provenance=Provenance.ESTIMATED,
        )
    cheapest, fastest = answer.best[0], answer.best[-1]
    label = plan_label(cheapest)
    headline = f"The cheapest plan whose mean latencies meet the SLO is {label} for {cheapest.usd_per_hour:.2f} USD/h"
    if fastest is not cheapest:
        headline += f"; {plan_label(fastest)} is the fastest for {fastest.usd_per_hour:.2f} USD/h"
    busy = answer.spec.requests_per_s / (cheapest.capacity_requests_per_s * cheapest.n_replicas)
    return Verdict(
        best=cheapest.device_id,
        headline=headline + ".",
        evidence=f"{three_digits(cheapest.usd_per_million_output_tokens or 0)} USD per million output tokens; TTFT "
        f"{shown_duration(cheapest.ttft_s)}, TPOT {shown_duration(cheapest.tpot_s)} with {cheapest.concurrency} sequences "
        f"on a replica; memory {shown_percent(cheapest.memory_fraction)} full.",
        objection=f"{basis_of(cheapest)}; replicas are {shown_percent(busy)} busy, and with Poisson arrivals and mixed lengths "
        f"{shown_percent(answer.queue.service.attainment_fraction)} of the requests meet the SLO (tab below).",
        provenance=Provenance.ESTIMATED,
    )


def plan_rows(answer: Planned) -> list[tuple[str, ...]]:
    """Return the cells of ``PLAN_HEAD`` for the cheapest plans; diamonds are beaten by none."""
    return [
        (
            ("◆ " if p in answer.best else "") + plan_label(p),
            str(p.total_devices),
            str(p.concurrency),
            shown_duration(p.ttft_s),
            shown_duration(p.tpot_s),
            shown_cents(p.usd_per_hour),
            three_digits(p.usd_per_million_output_tokens),
            shown_percent(p.memory_fraction),
            "calibrated" if p.is_calibrated else f"of {p.constants_of}",
        )
        for p in [p for p in answer.plans if p.reason is None][:SHOWN]
    ]


def hidden_plans(answer: Planned) -> list[str]:
    """Return what the table leaves out, in words: further plans, and devices without a price with their best plan."""
    good = [p for p in answer.plans if p.reason is None]
    rest = [p for p in good[SHOWN:] if p.usd_per_hour is not None]
    lines = [f"{len(rest)} more with a price."] if rest else []
    unpriced = [p for p in good[SHOWN:] if p.usd_per_hour is None]
    best = {p.device_name: p for p in reversed(unpriced)}
    if unpriced:
        named = "; ".join(f"{plan_label(p)}, TPOT {shown_duration(p.tpot_s)}" for p in reversed(best.values()))
        lines.append(f"{len(unpriced)} more without a price (give one with --prices), the fewest devices: {named}.")
    return lines


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


def queue_rows(answer: Planned) -> list[tuple[str, ...]]:
    """Return the cells of ``QUEUE_HEAD`` for each latency."""
    service = answer.queue.service
    latencies = (("TTFT", service.ttft_s), ("TPOT", service.tpot_s), ("E2E", service.e2e_s))
    return [(name, *(shown_duration(v or None) for v in (s.p50, s.p90, s.p99))) for name, s in latencies]


def queue_text(answer: Planned) -> str:
    """Return how the simulated requests fared on the cheapest plan, and how many replicas would do."""
    plan, n = answer.best[0], answer.n_enough_replicas
    service, occupancy = answer.queue.service, answer.queue.occupancy
    most = shown_percent(ATTAINMENT)
    advice = f"No number up to {MOST_TIMES} times as many replicas meets it for {most}."
    if n is not None:
        advice = f"{most} take {n} replica(s), {(plan.usd_per_hour or 0) / plan.n_replicas * n:.2f} USD/h."
    return (
        f"{service.n_requests} Poisson arrivals with lognormal lengths on {plan.n_replicas} replica(s), each to the one "
        f"with the fewest outstanding tokens: {shown_percent(service.attainment_fraction)} meet the SLO, goodput "
        f"{three_digits(service.goodput_requests_per_s)} requests/s, {service.n_preempted} preempted. Replicas are "
        f"{shown_percent(occupancy.busy_fraction)} busy; at most {occupancy.waiting_max} requests wait at one, and a cache is at "
        f"most {shown_percent(occupancy.cache_max_fraction)} full. {advice}"
    )


def launch_lines(answer: Planned) -> str:
    """Return how vLLM is started for the cheapest plan."""
    if not answer.best:
        return "# no plan meets the SLO"
    plan = answer.best[0]
    line = launch_command(answer.spec.model, plan, answer.spec, spec=answer.model)
    if plan.n_replicas == 1:
        return line
    return f"{line}\n# {plan.n_replicas} of these behind a load balancer, each on {plan.n_devices} device(s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPlan:
    """A plan in the JSON form."""

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
    prices: Mapping[str, str]
    """Where the price of each device is from."""
    plans: Sequence[ListedPlan]
    sensitivity: Sequence[Sensitivity]
    provenance: Provenance = Provenance.ESTIMATED


def plan_list(answer: Planned) -> PlanList:
    """Return all plans with their launch commands."""
    return PlanList(
        model=answer.model.name,
        requests_per_s=answer.spec.requests_per_s,
        input_tokens=answer.spec.input_tokens,
        output_tokens=answer.spec.output_tokens,
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


def replicas_that_meet(model: ModelSpec, plan: Plan, load: Load, offer: Offer, *, attainment: float) -> int | None:
    """Return the fewest replicas of a plan with which such a share of the simulated requests meets the SLO.

    More than ``MOST_TIMES`` the plan's number are not tried; ``None`` where even these do not suffice.
    """

    def is_enough(n: int) -> bool:
        queue = simulate_plan(model, replace(plan, n_replicas=n), load, offer)
        return queue.service.attainment_fraction >= attainment

    high = plan.n_replicas
    while not is_enough(high):
        if high >= MOST_TIMES * plan.n_replicas:
            return None
        high = min(MOST_TIMES * plan.n_replicas, max(high + 1, high * 3 // 2))
    low = max(1, plan.n_replicas // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedCell:
    """Predicted and measured time per token of a precision at one batch size."""

    label: str
    batch: int
    measured_s: float
    predicted_s: Interval


def predictions_beside(run: Run, *, context_tokens: int) -> list[PredictedCell]:
    """Return the predicted and the measured time per token of the precisions of a run at one context.

    Empty where there are no constants of the run's device.
    """
    spec, own = run.asked(ServingSpeedSpec), workbench_home() / CALIBRATIONS
    try:
        machine, is_own = machine_of(run.environment.device_id, split=Split(tensor=spec.tensor_parallel), own=own)
    except NotAvailable:
        return []
    model, rows = language_model_from(spec.model), list[PredictedCell]()
    for served in spec.served if is_own else ():
        name = Served.read(served)
        if name.folder is not None or name.format not in {*machine.known.curves, "mixed"}:
            continue
        cells = cells_of(run, served)
        here = cells.context_tokens == context_tokens
        batch = cells.batch[here]
        if not batch.size:
            continue
        context = np.full_like(batch, context_tokens + DECODED)
        roles, kv_bits = plan_of(served, run), kv_bits_of(served)
        steps = decode_step_s(model, roles, machine, batch=batch, context=context, kv_bits=kv_bits)
        rows += [
            PredictedCell(
                label=name.label,
                batch=int(b),
                measured_s=float(measured),
                predicted_s=interval_around(float(value), machine.known.log_error_unseen_step),
            )
            for b, value, measured in zip(batch, steps, cells.tpot_s[here], strict=True)
        ]
    return rows
