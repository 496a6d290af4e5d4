"""Price of a load: by unit, over a day, owned, and with each way to save."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.catalog.formats import FORMATS
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.catalog.price_rows import Price
from workbench.catalog.prices import median_price, median_reserved_price, median_spot_price, own_prices
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext, gettext_noop
from workbench.core.provenance import Provenance
from workbench.core.statistics import Interval
from workbench.core.units import shown_cents, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections, sentence
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.estimate.fleet import (
    DayCost,
    Ownership,
    SpotMarket,
    UnitCosts,
    day_cost,
    reserved_break_even,
    unit_costs,
)
from workbench.estimate.launch import launch_command
from workbench.estimate.precision import STORED, chosen_precision, offered_precisions, roles_of
from workbench.estimate.search import GROUP_SIZES, Plan, nearest_plan, plans, require_kernel
from workbench.estimate.step_time import decode_step_s
from workbench.questions.cost.findings.savings import QUANTIZED, Case, Saving, prompt_time_fraction, savings
from workbench.questions.cost.spec import CostSpec
from workbench.simulate.planned import basis_of, combination_label, plan_label

WHAT_IF_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
UNIT_HEAD = (gettext("Price ◌"), "USD")
SAVING_HEAD = (
    gettext("Way to save"),
    gettext("price, USD/h ◌"),
    gettext("saved ◌"),
    gettext("claimed"),
    gettext("comparison"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What a load costs, with everything that the prices stand on."""

    case: Case
    place: str
    """Name or folder of the model, as it was asked for."""
    plan: Plan
    """The cheapest that meets the SLO in the precision that was asked for, else in fewer bits than the checkpoint's."""
    usd_per_hour: float
    units: UnitCosts
    attainment_fraction: Interval
    """Share of the simulated requests that meet the SLO, with its nominal 80 % interval of step times."""
    spot: Price | None
    reserved_label: str
    reserved_usd_per_hour: float | None
    """Price of the same replicas for a whole term; None where no such price is known."""
    reserved_break_even_fraction: float | None
    """Share of the term in which a reserved machine must be used to cost less than one on demand."""
    owned: Ownership
    """One device of one's own."""
    day: DayCost
    savings: Sequence[Saving]

    @property
    def owned_usd_per_hour(self) -> float:
        """Return the price of an hour of the same replicas, owned."""
        return self.owned.usd_per_hour * self.plan.total_devices

    @property
    def energy_usd_per_hour(self) -> float:
        """Return the price of the power of an hour of them."""
        return self.owned.energy_usd_per_hour * self.plan.total_devices

    @property
    def scaled_usd_per_hour(self) -> float:
        """Return the mean price of an hour of a day, when replicas follow its request rates."""
        return self.day.machine_hours_scaled / 24 * self.usd_per_hour / self.plan.n_replicas


def case_of(spec: CostSpec) -> Case:
    """Return the load with what is known of the device and of the ways to save."""
    own = own_prices(Path(spec.prices)) if spec.prices else None
    (offer,) = offers([spec.device], own=workbench_home() / CALIBRATIONS, prices=own)
    spot = median_spot_price(spec.device)
    return Case(
        model=language_model_from(spec.model),
        load=spec,
        offer=offer,
        hit_fraction=spec.hit_fraction,
        spot_usd=spot.usd_per_gpu_hour if spot else None,
        market=SpotMarket(interruptions_per_hour=spec.interruptions_per_day / 24, return_s=spec.return_s),
        smaller=language_model_from(spec.smaller) if spec.smaller else None,
        precision=spec.precision,
    )


def price_load(spec: CostSpec) -> Priced:
    """Return what a load costs; raises ``NotAvailable`` where the device has no price or no plan meets the SLO."""
    case = case_of(spec)
    on_demand_usd = case.offer.usd_per_hour
    if on_demand_usd is None:
        raise NotAvailable(
            gettext("No price of {device} is listed.").format(device=case.offer.name),
            remedy=gettext("Give your own with --prices."),
        )
    if spec.precision != STORED:
        require_kernel(case.offer, spec.precision)
    attained, ways = savings(case)
    if attained is None or attained.plan.usd_per_hour is None:
        raise no_plan(case)
    base, good = attained.plan, attained.attainment_fraction
    listed = median_reserved_price(spec.device)
    reserved_usd = spec.reserved_usd or (listed.usd_per_gpu_hour if listed else None)
    label = (
        gettext("your own")
        if spec.reserved_usd
        else listed.label
        if listed
        else gettext("no price for a whole term is listed")
    )
    return Priced(
        case=case,
        place=spec.model,
        plan=base,
        usd_per_hour=attained.plan.usd_per_hour,
        units=unit_costs(
            attained.plan.usd_per_hour,
            requests_per_s=spec.requests_per_s,
            input_tokens=spec.input_tokens,
            output_tokens=spec.output_tokens,
            prompt_time_fraction=prompt_time_fraction(case, base),
            good_fraction=good.value,
        ),
        attainment_fraction=good,
        spot=median_spot_price(spec.device),
        reserved_label=label,
        reserved_usd_per_hour=reserved_usd and reserved_usd * base.total_devices,
        reserved_break_even_fraction=reserved_usd and reserved_break_even(reserved_usd, on_demand_usd),
        owned=Ownership(purchase_usd=spec.purchase_usd),
        day=day_cost(
            [spec.requests_per_s * share for share in spec.day],
            capacity_per_s=spec.requests_per_s / base.n_replicas,
            busy_fraction=1.0,  # the simulation's replicas have room for queues already
        ),
        savings=ways,
    )


def no_plan(case: Case) -> NotAvailable:
    """Return the error of a load that no plan serves within the SLO, with what stands against the nearest one."""
    tried = (case.precision,) if case.precision != STORED else offered_precisions(case.model)
    ranked = plans(case.model, case.load, [case.offer], precisions=tried)
    reasons = [p.reason for p in ranked if p.reason]
    if any(p.reason is None for p in ranked):
        reasons = [
            gettext(
                "mean latencies of some do, but not enough of the simulated requests at the longer end of the step times"
            )
        ]
    nearest = nearest_plan(ranked)
    binding = next(iter(reasons), gettext("no split was possible"))
    if nearest is not None and not any(p.reason is None for p in ranked):
        binding = gettext("the nearest is {plan}, where {reason}").format(
            plan=combination_label(nearest), reason=nearest.reason
        )
    names = gettext(", ").join(dict.fromkeys(chosen_precision(case.model, p).upper() for p in tried))
    return NotAvailable(
        gettext("No plan in {precisions} meets this SLO on up to {n} x {device}: {reason}.").format(
            precisions=names, n=max(GROUP_SIZES), device=case.offer.name, reason=binding
        ),
        remedy=gettext("Relax the SLO, or choose another device; `workbench plan` lists all reasons."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSummary:
    """What a load costs, as ``cost --json`` prints it."""

    model: str
    plan: str
    precision: str
    launch_command: str
    """How one replica is started."""
    usd_per_hour: float
    price: str
    """Where the price on demand is from."""
    spot_price: str | None
    units: UnitCosts
    attainment_fraction: Interval
    """Share of the simulated requests that meet the SLO, with its nominal 80 % interval of step times."""
    reserved_usd_per_hour: float | None
    reserved_break_even_fraction: float | None
    owned_usd_per_hour: float
    energy_usd_per_hour: float
    day: DayCost
    day_saving_fraction: float
    """What scaling over the day saves."""
    savings: Sequence[Saving]
    is_calibrated: bool
    provenance: Provenance = Provenance.ESTIMATED


def cost_summary(answer: Priced) -> CostSummary:
    """Return the prices of a load without what they were computed from."""
    return CostSummary(
        model=answer.case.model.name,
        plan=plan_label(answer.plan),
        precision=answer.plan.precision,
        launch_command=launch_lines(answer),
        usd_per_hour=answer.usd_per_hour,
        price=answer.case.offer.price_label,
        spot_price=answer.spot.label if answer.spot else None,
        units=answer.units,
        attainment_fraction=answer.attainment_fraction,
        reserved_usd_per_hour=answer.reserved_usd_per_hour,
        reserved_break_even_fraction=answer.reserved_break_even_fraction,
        owned_usd_per_hour=answer.owned_usd_per_hour,
        energy_usd_per_hour=answer.energy_usd_per_hour,
        day=answer.day,
        day_saving_fraction=answer.day.saving_fraction,
        savings=answer.savings,
        is_calibrated=answer.plan.is_calibrated,
    )


def launch_lines(answer: Priced) -> str:
    """Return how one replica of the plan is started."""
    case = answer.case
    return launch_command(answer.place, answer.plan, case.load, spec=case.model)


def _attainment(answer: Priced) -> dict[str, str]:
    """Return what sentences about the simulated SLO attainment hold."""
    share = answer.attainment_fraction
    return {"share": shown_percent(share.value), "low": shown_percent(share.low), "high": shown_percent(share.high)}


def cost_verdict(answer: Priced) -> Verdict:
    """Return the price of tokens and of an hour, and what speaks against trusting it."""
    u, device_id = answer.units, answer.plan.device_id
    evidence = gettext(
        "{plan}; {price} USD per 1000 requests, none meets the SLO ({share}, {low} to {high}, do in the simulation)."
    )
    if u.usd_per_good_request is not None:
        evidence = gettext(
            "{plan}; {price} USD per 1000 requests, {good} USD per 1000 that meet the SLO ({share}, {low} to {high}, do in the simulation)."
        )
    listed = median_price(device_id)
    spread = (
        gettext("a device is listed at {prices} USD/h").format(prices=listed.shown_range)
        if listed
        else gettext("no price is listed")
    )
    points = [] if answer.plan.is_calibrated else [basis_of(answer.plan)]
    if listed and listed.n_stale:
        points.append(
            gettext("a device is listed at {prices} USD/h, {stale} of {n} prices stale").format(
                prices=listed.shown_range, stale=listed.n_stale, n=listed.n_providers
            )
        )
    saving = max(
        (s for s in answer.savings if (s.saved_fraction or 0.0) > 0),
        key=lambda s: s.saved_fraction or 0.0,
        default=None,
    )
    most = (
        gettext("the largest saving comes from {technique}: {share}").format(
            technique=gettext(saving.technique), share=shown_percent(saving.saved_fraction)
        )
        if saving
        else gettext("no way to save that was tried saves anything")
    )
    prompt = shown_percent(
        1 - u.usd_per_million_output_tokens * answer.case.load.output_tokens / (1e6 * u.usd_per_request)
    )
    return Verdict(
        headline=gettext(
            "This load costs {input} USD per million input tokens and {output} USD per million output tokens, {hour} USD/h in all."
        ).format(
            input=f"{u.usd_per_million_input_tokens:.3g}",
            output=f"{u.usd_per_million_output_tokens:.3g}",
            hour=f"{answer.usd_per_hour:.2f}",
        ),
        evidence=evidence.format(
            plan=plan_label(answer.plan),
            price=f"{1e3 * u.usd_per_request:.3g}",
            good="" if u.usd_per_good_request is None else f"{1e3 * u.usd_per_good_request:.3g}",
            **_attainment(answer),
        ),
        objection=objections(points),
        scope=gettext(
            "{notes} The hourly price is divided between prompts ({share}) and answers; a price by output tokens alone, as under What if, carries all of it."
        ).format(notes=sentence([most, spread]), share=prompt),
        provenance=Provenance.ESTIMATED,
    )


def hourly_prices(answer: Priced) -> dict[str, float]:
    """Return the price of an hour of the same replicas by the way to have them; a way without a price is left out."""
    spot = next((s.usd_per_hour for s in answer.savings if s.technique == "spot instances"), None)
    ways = {
        gettext_noop("on demand, all day"): answer.usd_per_hour,
        gettext_noop("on demand, scaled over a day"): answer.scaled_usd_per_hour,
        gettext_noop("partly on spot"): spot,
        gettext_noop("reserved for a term"): answer.reserved_usd_per_hour,
        gettext_noop("owned"): answer.owned_usd_per_hour,
    }
    return {way: usd for way, usd in ways.items() if usd is not None}


def unit_rows(answer: Priced) -> list[tuple[str, str]]:
    """Return the cells of ``UNIT_HEAD``."""
    u, even, good_usd = answer.units, answer.reserved_break_even_fraction, answer.units.usd_per_good_request
    good = gettext("per 1000 requests that meet the SLO ({share}, {low} to {high}, do, simulated)").format(
        **_attainment(answer)
    )
    reserved = (
        gettext("per hour, reserved for a whole term")
        if even is None
        else gettext("per hour, reserved for a whole term (cheaper if used {share} of the term)").format(
            share=shown_percent(even)
        )
    )
    change = answer.scaled_usd_per_hour / answer.usd_per_hour - 1
    scaled = (
        gettext("per hour, mean over a day with autoscaling ({share} less than on demand all day)")
        if change <= 0
        else gettext("per hour, mean over a day with autoscaling ({share} more than on demand all day)")
    )
    return [
        (gettext("per million input tokens"), three_digits(u.usd_per_million_input_tokens)),
        (gettext("per million output tokens"), three_digits(u.usd_per_million_output_tokens)),
        (gettext("per 1000 requests"), three_digits(1e3 * u.usd_per_request)),
        (good, three_digits(good_usd and 1e3 * good_usd)),
        (gettext("per hour, on demand"), f"{answer.usd_per_hour:.2f}"),
        (reserved, shown_cents(answer.reserved_usd_per_hour)),
        (gettext("per hour, owned"), f"{answer.owned_usd_per_hour:.2f}"),
        (gettext("per hour, power of owned devices"), f"{answer.energy_usd_per_hour:.2f}"),
        (scaled.format(share=shown_percent(abs(change))), f"{answer.scaled_usd_per_hour:.2f}"),
    ]


def saving_rows(answer: Priced) -> list[tuple[str, ...]]:
    """Return the cells of ``SAVING_HEAD`` for each way to save."""
    return [
        (
            gettext(s.technique),
            shown_cents(s.usd_per_hour),
            shown_percent(s.saved_fraction),
            gettext("{low} to {high}").format(
                low=shown_percent(s.claimed_low_fraction), high=shown_percent(s.claimed_high_fraction)
            ),
            s.how,
        )
        for s in answer.savings
    ]


def price_sources(answer: Priced) -> tuple[str, ...]:
    """Return where each price is from."""
    o = answer.owned
    return (
        gettext("On demand: {price}").format(price=answer.case.offer.price_label),
        gettext("Spot: {price}").format(price=answer.spot.label if answer.spot else gettext("no spot price is listed")),
        gettext("Reserved: {price}").format(price=answer.reserved_label),
        gettext(
            "Owned: purchase over {years} years, {yearly} % of it per year for space, people and repairs, {power} W at a PUE of {pue} and {kwh} USD/kWh, used {used} % of the time. The request rates over a day are those of an invented office day unless they are given."
        ).format(
            years=f"{o.years:g}",
            yearly=f"{100 * o.yearly_fraction:g}",
            power=f"{o.power_w:g}",
            pue=f"{o.overhead:g}",
            kwh=f"{o.usd_per_kwh:g}",
            used=f"{100 * o.used_fraction:g}",
        ),
    )


def steps_by_batch(case: Case) -> dict[str, dict[int, float]]:
    """Return the seconds of a decode step by precision and batch on one device, at the load's mean context."""
    machine, batch = case.offer.machine, np.array([float(b) for b in WHAT_IF_BATCHES])
    middle = np.full_like(batch, case.load.input_tokens + case.load.output_tokens / 2)
    steps = {}
    official = offered_precisions(case.model)[0]
    for form in (f for f in dict.fromkeys((official, *QUANTIZED)) if f in machine.kernels):
        if form == official or FORMATS[form].bits < FORMATS[official].bits:
            roles = roles_of(case.model, form)
            seconds = decode_step_s(case.model, roles, machine, batch=batch, context=middle, kv_bits=16)
            steps[form.upper()] = dict(zip(WHAT_IF_BATCHES, map(float, seconds), strict=True))
    return steps
