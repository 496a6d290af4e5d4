"""What each way to save would save in the reader's own case, beside what is claimed for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench.catalog.tables import claims
from workbench.core.models import ModelSpec
from workbench.estimate.fleet import SpotMarket, mixed_fleets
from workbench.estimate.linear_layers import ROLES
from workbench.estimate.search import Load, Offer, Plan, plans
from workbench.estimate.step_time import decode_step_s, reading_s

QUESTION = 8  # of the FAQ


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """One way to save."""

    technique: str
    """As in data/claims.csv."""
    usd_per_hour: float | None
    """With it; None where it cannot be done."""
    saved_fraction: float | None
    """Of what the load costs without it; below zero where it costs more."""
    how: str
    """What was compared."""
    claimed_low_fraction: float | None
    claimed_high_fraction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A load, and what could be done for it."""

    model: ModelSpec
    load: Load
    offer: Offer
    hit_fraction: float
    """Of the requests that a cache of answers could answer."""
    spot_usd: float | None
    """Of one device and hour; None where no spot price is known."""
    market: SpotMarket
    smaller: ModelSpec | None = None
    """A distilled model that could take the place of this one."""


def cheapest(model: ModelSpec, load: Load, offer: Offer, precisions: Sequence[str]) -> Plan | None:
    """The cheapest plan that keeps the promises; None without one."""
    return next((p for p in plans(model, load, [offer], precisions=precisions) if p.reason is None), None)


def prompt_time_fraction(case: Case, plan: Plan) -> float:
    """Share of a replica's working time that prompts take, by which a price is split between input and output."""
    machine = replace(case.offer.machine, split=plan.split)
    roles = dict.fromkeys(ROLES, plan.precision)
    one = np.ones(1)
    prompt = float(reading_s(case.model, roles, machine, batch=one, context=one * case.load.input_tokens)[0])
    middle = one * (case.load.input_tokens + case.load.output_tokens / 2)
    step = decode_step_s(case.model, roles, machine, batch=one * plan.concurrency, context=middle, kv_bits=plan.kv_bits)
    decoding = float(step[0]) * case.load.output_tokens / plan.concurrency
    return prompt / (prompt + decoding)


def savings(case: Case) -> tuple[Plan | None, list[Saving]]:
    """The plan in BF16, and what each technique would make of its price. Nothing is quoted: each is planned anew."""
    base = cheapest(case.model, case.load, case.offer, ("bf16",))
    if base is None or base.usd_per_hour is None:
        return base, []
    told = {c.technique: c for c in claims() if c.question == QUESTION and c.metric == "cost_saving"}
    ways: dict[str, Callable[[Case, Plan], tuple[float | None, str]]] = {
        "quantization": _quantized,
        "dynamic batching": _batched,
        "caching": _cached,
        "spot instances": _on_spot,
        "distillation": _distilled,
    }
    found = []
    for technique, way in ways.items():
        usd, how = way(case, base)
        claim = told.get(technique)
        before = base.usd_per_hour
        if technique == "dynamic batching" and usd is not None:  # here the plan is the better of the two
            usd, before = base.usd_per_hour, usd
        found.append(
            Saving(
                technique=technique,
                usd_per_hour=usd,
                saved_fraction=None if usd is None else 1 - usd / before,
                how=how,
                claimed_low_fraction=claim.low / 100 if claim and claim.low is not None else None,
                claimed_high_fraction=claim.high / 100 if claim and claim.high is not None else None,
            )
        )
    return base, found


def _usd(plan: Plan | None) -> float | None:
    return plan.usd_per_hour if plan else None


def _quantized(case: Case, _base: Plan) -> tuple[float | None, str]:
    plan = cheapest(case.model, case.load, case.offer, ("fp8", "w8a8", "w4a16"))
    return _usd(plan), f"the cheapest of FP8, W8A8 and W4A16: {plan.precision if plan else 'none keeps the promises'}"


def _batched(case: Case, _base: Plan) -> tuple[float | None, str]:
    one = next(
        (
            p
            for p in plans(case.model, case.load, [case.offer], precisions=("bf16",), most_sequences=1)
            if p.reason is None
        ),
        None,
    )
    return _usd(one), "against replicas that answer one request at a time"


def _cached(case: Case, _base: Plan) -> tuple[float | None, str]:
    left = replace(case.load, requests_per_s=case.load.requests_per_s * (1 - case.hit_fraction))
    return _usd(
        cheapest(case.model, left, case.offer, ("bf16",))
    ), f"{100 * case.hit_fraction:.0f} % answered from a cache"


def _on_spot(case: Case, base: Plan) -> tuple[float | None, str]:
    if case.spot_usd is None or case.offer.usd_per_hour is None:
        return None, "no spot price is listed"
    best = mixed_fleets(
        base.n_replicas,
        on_demand_usd=case.offer.usd_per_hour * base.n_devices,
        spot_usd=case.spot_usd * base.n_devices,
        market=case.market,
    )[0]
    return best.usd_per_hour, f"{best.n_on_demand} replicas on demand and {best.n_spot} on spot keep 99.9 % of the time"


def _distilled(case: Case, _base: Plan) -> tuple[float | None, str]:
    if case.smaller is None:
        return None, "no smaller model was named"
    plan = cheapest(case.smaller, case.load, case.offer, ("bf16",))
    return _usd(plan), f"{case.smaller.name} in its place; what it loses in quality must be measured"
