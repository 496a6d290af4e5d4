"""A load priced whole: by unit, over a day, owned, and what each way to save would save."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.estimate.fleet import DayCost, Ownership, UnitCosts, day_cost, reserved_break_even, unit_costs
from workbench.estimate.linear_layers import ROLES
from workbench.estimate.search import Plan
from workbench.estimate.step_time import decode_step_s
from workbench.experiments.plan_verdict import simulated
from workbench.experiments.savings import Case, Saving, prompt_time_fraction, savings

OFFICE_DAY = (
    *(0.3, 0.2, 0.15, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0, 1.0, 0.95),
    *(0.9, 0.95, 1.0, 1.0, 0.95, 0.9, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4),
)
"""Hourly rates over the peak's of an office day; made up, and to be replaced by one's own."""
WHAT_IF_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What a load costs."""

    plan: Plan
    """The cheapest in BF16 that keeps the promises."""
    usd_per_hour: float
    units: UnitCosts
    good_fraction: float
    """Of simulated requests, those that keep both promises."""
    reserved_usd_per_hour: float | None
    """Of the same replicas for a whole term; None where no such price is known."""
    reserved_break_even_fraction: float | None
    """Share of the term in which a reserved machine must be used to cost less than one on demand."""
    owned_usd_per_hour: float
    energy_usd_per_hour: float
    day: DayCost
    savings: Sequence[Saving]


def priced(
    case: Case, *, owned: Ownership, day: Sequence[float] = OFFICE_DAY, reserved_usd: float | None = None
) -> Priced:
    """Price a load.

    Args:
        case: The load and what could be done for it.
        owned: A device of one's own.
        day: Rates over the load's in equal parts of a day.
        reserved_usd: Of a device and hour, for a whole term.

    Raises ``NotAvailable`` where the device has no price or no plan keeps the promises.
    """
    load, offer = case.load, case.offer
    if offer.usd_per_hour is None:
        raise NotAvailable(f"No price of {offer.name} is listed.", remedy="Give your own with --prices.")
    base, found = savings(case)
    if base is None or base.usd_per_hour is None:
        raise NotAvailable("No plan in BF16 keeps these promises.", remedy="See `workbench plan` for the reasons.")
    good = float(simulated(case.model, base, load, offer)["kept_fraction"])
    units = unit_costs(
        base.usd_per_hour,
        requests_per_s=load.requests_per_s,
        input_tokens=load.input_tokens,
        output_tokens=load.output_tokens,
        prompt_time_fraction=prompt_time_fraction(case, base),
        good_fraction=good,
    )
    return Priced(
        plan=base,
        usd_per_hour=base.usd_per_hour,
        units=units,
        good_fraction=good,
        reserved_usd_per_hour=None if reserved_usd is None else reserved_usd * base.total_devices,
        reserved_break_even_fraction=None
        if reserved_usd is None
        else reserved_break_even(reserved_usd, offer.usd_per_hour),
        owned_usd_per_hour=owned.usd_per_hour * base.total_devices,
        energy_usd_per_hour=owned.energy_usd_per_hour * base.total_devices,
        day=day_cost([load.requests_per_s * share for share in day], capacity_per_s=base.capacity_requests_per_s),
        savings=found,
    )


def steps_by_batch(case: Case) -> dict[str, dict[int, float]]:
    """Seconds of a decoding step by precision and batch on one device, at the load's mean context."""
    batch = np.array([float(b) for b in WHAT_IF_BATCHES])
    middle = np.full_like(batch, case.load.input_tokens + case.load.output_tokens / 2)
    made = {}
    for form in (f for f in ("bf16", "fp8", "w8a8", "w4a16") if f in case.offer.machine.known.curves):
        if form == "fp8" and not case.offer.has_fp8:
            continue
        roles = dict.fromkeys(ROLES, form)
        step = decode_step_s(case.model, roles, case.offer.machine, batch=batch, context=middle, kv_bits=16)
        made[form.upper()] = dict(zip(WHAT_IF_BATCHES, (float(s) for s in step), strict=True))
    return made
