"""What the price of a load depends on: the cheapest plan after a change of each single assumption."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

from workbench.catalog.model_spec import ModelSpec
from workbench.core.language import gettext
from workbench.core.units import shown_percent, three_digits
from workbench.estimate.prediction import LEVEL, Z
from workbench.estimate.search import Curve, Load, Offer, Plan, choose_plans, curves, pareto

LESS, MORE = 0.75, 1.25  # factors that assumptions are changed by
ASSUMPTIONS = {
    "requests_per_s": (gettext("request rate"), "/s"),
    "input_tokens": (gettext("prompt tokens"), gettext("tokens")),
    "output_tokens": (gettext("output tokens"), gettext("tokens")),
    "ttft_s": (gettext("SLO: TTFT"), "ms"),
    "tpot_s": (gettext("SLO: TPOT"), "ms"),
}
"""Name and unit of each number of a load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """The cheapest plan when one assumption is lower and higher; None where no plan meets the SLO."""

    assumption: str
    low: str
    """The lower value, in words."""
    high: str
    plan_low: Plan | None
    plan_high: Plan | None

    @property
    def usd_low(self) -> float | None:
        """Return the price of an hour with the lower value."""
        return self.plan_low.usd_per_hour if self.plan_low else None

    @property
    def usd_high(self) -> float | None:
        """Return the price of an hour with the higher value."""
        return self.plan_high.usd_per_hour if self.plan_high else None

    def spread(self, usd_base: float) -> float:
        """Return the largest change of the price, as a fraction; infinite where a change leaves no plan."""
        if self.usd_low is None or self.usd_high is None:
            return float("inf")
        return max(abs(self.usd_low / usd_base - 1), abs(self.usd_high / usd_base - 1))


def sensitivities(
    model: ModelSpec, load: Load, offers: Sequence[Offer], base: Plan, *, precisions: Sequence[str] | None = None
) -> list[Sensitivity]:
    """Return each assumption changed, the one that moves the price of the cheapest plan most first.

    Request rate, lengths and SLO by a quarter; predicted times to the ends of their interval; the price of the device of
    ``base``, the cheapest plan, by a quarter while the others' stay.
    """
    known = curves(model, load, offers, precisions=precisions)
    changes = []
    for name, (assumption, unit) in ASSUMPTIONS.items():
        loads = [_scaled(load, name, factor) for factor in (LESS, MORE)]
        values = [getattr(changed, name) * (1e3 if unit == "ms" else 1) for changed in loads]
        is_length = name.endswith("_tokens")
        plans = [
            _cheapest(curves(model, at, offers, precisions=precisions) if is_length else known, at) for at in loads
        ]
        ends = [f"{f'{v:,}' if isinstance(v, int) else three_digits(v)} {unit}" for v in values]
        changes.append(_change(assumption, ends, plans))
    offer = next(o for o in offers if o.device_id == base.device_id)
    factor = exp(Z * offer.machine.known.log_error_unseen_step)
    # Times that are all longer by a factor are the same as a shorter SLO and a request rate higher by it.
    rate, ttft_s, tpot_s = load.requests_per_s, load.ttft_s, load.tpot_s
    loads = [replace(load, requests_per_s=rate * f, ttft_s=ttft_s / f, tpot_s=tpot_s / f) for f in (1 / factor, factor)]
    ends = [shown_percent(1 / factor - 1), shown_percent(factor - 1, sign=True)]
    plans = [_cheapest(known, at) for at in loads]
    changes.append(
        _change(gettext("predicted times, {level} interval").format(level=shown_percent(LEVEL)), ends, plans)
    )
    price = offer.usd_per_hour
    if price is not None:
        plans = [_cheapest(_repriced(known, base.device_id, price * f), load) for f in (LESS, MORE)]
        ends = [f"{price * f:.2f} USD/h" for f in (LESS, MORE)]
        changes.append(_change(gettext("price of {device}").format(device=base.device_name), ends, plans))
    return sorted(changes, key=lambda s: -s.spread(base.usd_per_hour or 1.0))


def _scaled(load: Load, name: str, factor: float) -> Load:
    value = getattr(load, name) * factor
    return replace(load, **{name: max(1, round(value)) if name.endswith("_tokens") else value})


def _change(assumption: str, values: Sequence[str], plans: Sequence[Plan | None]) -> Sensitivity:
    (low, high), (plan_low, plan_high) = values, plans
    return Sensitivity(assumption=assumption, low=low, high=high, plan_low=plan_low, plan_high=plan_high)


def _cheapest(known: Sequence[Curve], load: Load) -> Plan | None:
    return next(iter(pareto(choose_plans(known, load))), None)


def _repriced(known: Sequence[Curve], device_id: str, usd: float) -> list[Curve]:
    return [replace(c, usd_per_device_hour=usd) if c.plan.device_id == device_id else c for c in known]
