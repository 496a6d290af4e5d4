"""Savings of each technique in the reader's own case, compared with what is claimed for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench.catalog.formats import FORMATS
from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.tables import claims
from workbench.core.language import gettext
from workbench.core.units import shown_percent
from workbench.estimate.fleet import SpotMarket, mixed_fleets
from workbench.estimate.precision import STORED, chosen_precision, offered_precisions, roles_of
from workbench.estimate.search import MOST_SEQUENCES, Load, Offer, Plan, curves
from workbench.estimate.step_time import decode_step_s, reading_s
from workbench.simulate.attained import AttainedPlan, attained_plans

QUESTION = 8  # of the FAQ
QUANTIZED = ("fp8", "w8a8", "w4a16", "mxfp4", "nvfp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """One way to save, compared with going without it."""

    technique: str
    """Name of the technique in data/claims.csv."""
    usd_per_hour: float | None
    """With it; None where it cannot be done."""
    saved_fraction: float | None
    """Share of the cost without it that is saved; below zero where it costs more."""
    how: str
    """What was compared with what, in words."""
    claimed_low_fraction: float | None
    claimed_high_fraction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A load, and what could be done for it."""

    model: ModelSpec
    load: Load
    offer: Offer
    hit_fraction: float
    """Share of the requests that a response cache could answer."""
    spot_usd: float | None
    """Spot price of one device and hour; None where none is known."""
    market: SpotMarket
    smaller: ModelSpec | None = None
    """A distilled model that could take the place of this one."""
    precision: str = STORED
    """Precision that the load is priced in, before a way to save."""


def cheapest(
    model: ModelSpec, load: Load, offer: Offer, precisions: Sequence[str], *, most_sequences: int = MOST_SEQUENCES
) -> AttainedPlan | None:
    """Return the cheapest plan whose simulated requests meet the SLO; None without one."""
    known = curves(model, load, [offer], precisions=precisions, most_sequences=most_sequences)
    return next((a for a in attained_plans(model, load, [offer], known) if a.does_hold), None)


def base_plan(case: Case) -> AttainedPlan | None:
    """Return the cheapest plan in the precision that was asked for.

    Where that is the checkpoint's own and no plan in it meets the SLO, the cheapest in fewer bits.
    """
    plan = cheapest(case.model, case.load, case.offer, (chosen_precision(case.model, case.precision),))
    if plan is None and case.precision == STORED:
        return cheapest(case.model, case.load, case.offer, offered_precisions(case.model))
    return plan


def prompt_time_fraction(case: Case, plan: Plan) -> float:
    """Return the share of a replica's working time that prompts take, by which a price is split between input and output."""
    machine = replace(case.offer.machine, split=plan.split)
    roles = roles_of(case.model, plan.precision)
    one = np.ones(1)
    prompt = float(reading_s(case.model, roles, machine, batch=one, context=one * case.load.input_tokens)[0])
    middle = one * (case.load.input_tokens + case.load.output_tokens / 2)
    step = decode_step_s(case.model, roles, machine, batch=one * plan.concurrency, context=middle, kv_bits=plan.kv_bits)
    decoding = float(step[0]) * case.load.output_tokens / plan.concurrency
    return prompt / (prompt + decoding)


def savings(case: Case) -> tuple[AttainedPlan | None, list[Saving]]:
    """Return the plan that is priced, and what each technique would make of its price; each is planned anew."""
    attained = base_plan(case)
    if attained is None or attained.plan.usd_per_hour is None:
        return attained, []
    base, before_usd = attained.plan, attained.plan.usd_per_hour
    published = {c.technique: c for c in claims() if c.question == QUESTION and c.metric == "cost_saving"}
    ways: dict[str, Callable[[Case, Plan], tuple[float | None, str]]] = {
        "quantization": _quantized,
        "dynamic batching": _batched,
        "caching": _cached,
        "spot instances": _on_spot,
        "distillation": _distilled,
    }
    compared = []
    for technique, way in ways.items():
        usd, how = way(case, base)
        claim, before = published.get(technique), before_usd
        if technique == "dynamic batching" and usd is not None:  # here the plan is the better of the two
            usd, before = before_usd, usd
        compared.append(
            Saving(
                technique=technique,
                usd_per_hour=usd,
                saved_fraction=None if usd is None else 1 - usd / before,
                how=how,
                claimed_low_fraction=claim.low / 100 if claim and claim.low is not None else None,
                claimed_high_fraction=claim.high / 100 if claim and claim.high is not None else None,
            )
        )
    return attained, compared


def _usd(attained: AttainedPlan | None) -> float | None:
    return attained.plan.usd_per_hour if attained else None


def _quantized(case: Case, base: Plan) -> tuple[float | None, str]:
    bits = FORMATS[base.precision].bits
    fewer = tuple(p for p in QUANTIZED if FORMATS[p].bits < bits and p in case.offer.machine.kernels)
    if not fewer:
        return None, gettext("nothing with fewer bits than {precision} has kernels on this device").format(
            precision=base.precision
        )
    found = cheapest(case.model, case.load, case.offer, fewer)
    return _usd(found), gettext("the cheapest of {precisions}: {chosen}").format(
        precisions=gettext(", ").join(p.upper() for p in fewer),
        chosen=found.plan.precision if found else gettext("none meets the SLO"),
    )


def _batched(case: Case, base: Plan) -> tuple[float | None, str]:
    single = cheapest(case.model, case.load, case.offer, (base.precision,), most_sequences=1)
    return _usd(single), gettext("compared with replicas that answer one request at a time")


def _cached(case: Case, base: Plan) -> tuple[float | None, str]:
    left = replace(case.load, requests_per_s=case.load.requests_per_s * (1 - case.hit_fraction))
    plan = cheapest(case.model, left, case.offer, (base.precision,))
    return _usd(plan), gettext("{share} of the requests answered from a cache").format(
        share=shown_percent(case.hit_fraction)
    )


def _on_spot(case: Case, base: Plan) -> tuple[float | None, str]:
    if case.spot_usd is None or case.offer.usd_per_hour is None:
        return None, gettext("no spot price is listed")
    best = mixed_fleets(
        base.n_replicas,
        on_demand_usd=case.offer.usd_per_hour * base.n_devices,
        spot_usd=case.spot_usd * base.n_devices,
        market=case.market,
    )[0]
    return best.usd_per_hour, gettext(
        "{on_demand} replicas on demand and {spot} on spot are enough 99.9 % of the time"
    ).format(on_demand=best.n_on_demand, spot=best.n_spot)


def _distilled(case: Case, _base: Plan) -> tuple[float | None, str]:
    if case.smaller is None:
        return None, gettext("no smaller model was named")
    plan = cheapest(case.smaller, case.load, case.offer, (chosen_precision(case.smaller, STORED),))
    return _usd(plan), gettext("{model} replaces it; the loss of quality must be measured").format(
        model=case.smaller.name
    )
