"""What the price of a load hangs on: each assumption changed by itself, and the cheapest plan found anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any

from workbench.core.models import ModelSpec
from workbench.estimate.prediction import LEVEL, Z
from workbench.estimate.search import Curve, Load, Offer, Plan, chosen, curves, pareto
from workbench.experiments.plan_verdict import plan_label

CHANGE = 0.25  # of an assumption, up and down


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """The cheapest plan when one assumption is lower and higher; None where no plan keeps the promises."""

    assumption: str
    low: str
    """The lower value, in words."""
    high: str
    plan_low: Plan | None
    plan_high: Plan | None

    @property
    def usd_low(self) -> float | None:
        """Of an hour, with the lower value."""
        return self.plan_low.usd_per_hour if self.plan_low else None

    @property
    def usd_high(self) -> float | None:
        """Of an hour, with the higher value."""
        return self.plan_high.usd_per_hour if self.plan_high else None

    def row(self) -> dict[str, Any]:
        """For figures and JSON."""
        row: dict[str, Any] = {"assumption": self.assumption, "low": self.low, "high": self.high}
        for end, plan in (("low", self.plan_low), ("high", self.plan_high)):
            row |= {f"usd_{end}": plan.usd_per_hour if plan else None, f"plan_{end}": plan and plan_label(plan)}
        return row

    def spread(self, usd_base: float) -> float:
        """Farthest change of the price, as a share; infinite where a change leaves no plan."""
        if self.usd_low is None or self.usd_high is None:
            return float("inf")
        return max(abs(self.usd_low / usd_base - 1), abs(self.usd_high / usd_base - 1))


def sensitivities(model: ModelSpec, load: Load, offers: Sequence[Offer], base: Plan) -> list[Sensitivity]:
    """Each assumption changed, the one that moves the price of the cheapest plan most first.

    Rate, lengths and promises by a quarter; predicted times to the ends of their interval; the price of the base plan's
    device by a quarter while the others' stay.

    Args:
        model: The shape.
        load: What comes in, and what was promised.
        offers: Devices that can be had.
        base: The cheapest plan for the load.
    """
    known = curves(model, load, offers)
    less, more = 1 - CHANGE, 1 + CHANGE

    def changed(name: str, unit: str, factor: float, digits: int = 0) -> tuple[Load, str]:
        value = getattr(load, name) * factor
        value = max(1, round(value)) if name.endswith("_tokens") else value
        shown = value * 1e3 if unit == "ms" else value
        return replace(load, **{name: value}), f"{shown:.{digits}f} {unit}"

    def pair(assumption: str, name: str, unit: str, digits: int = 0) -> Sensitivity:
        (low, low_text), (high, high_text) = (changed(name, unit, f, digits) for f in (less, more))
        is_length = name.endswith("_tokens")
        plans = [_cheapest(curves(model, at, offers) if is_length else known, at) for at in (low, high)]
        return Sensitivity(assumption=assumption, low=low_text, high=high_text, plan_low=plans[0], plan_high=plans[1])

    made = [
        pair("requests a second", "requests_per_s", "/s", 3 if load.requests_per_s < 1 else 1),
        pair("prompt", "input_tokens", "tokens"),
        pair("answer", "output_tokens", "tokens"),
        pair("promise on the first token", "ttft_s", "ms"),
        pair("promise on further tokens", "tpot_s", "ms", 1),
    ]
    machine = next(o.machine for o in offers if o.device_id == base.device_id)
    factor = exp(Z * machine.known.log_error_unseen_step)
    # Times that are all longer by a factor are the same as promises shorter and a rate higher by it.
    slower, faster = (
        replace(load, requests_per_s=load.requests_per_s * f, ttft_s=load.ttft_s / f, tpot_s=load.tpot_s / f)
        for f in (factor, 1 / factor)
    )
    made.append(
        Sensitivity(
            assumption=f"predicted times, {100 * LEVEL:.0f} % interval",
            low=f"{100 * (1 / factor - 1):.0f} %",
            high=f"+{100 * (factor - 1):.0f} %",
            plan_low=_cheapest(known, faster),
            plan_high=_cheapest(known, slower),
        )
    )
    price = next(o.usd_per_hour for o in offers if o.device_id == base.device_id)
    if price is not None:
        made.append(
            Sensitivity(
                assumption=f"price of {base.device_name}",
                low=f"{price * less:.2f} USD/h",
                high=f"{price * more:.2f} USD/h",
                plan_low=_cheapest(_repriced(known, base.device_id, lambda usd: usd * less), load),
                plan_high=_cheapest(_repriced(known, base.device_id, lambda usd: usd * more), load),
            )
        )
    usd = base.usd_per_hour or 1.0
    return sorted(made, key=lambda s: -s.spread(usd))


def _cheapest(found: Sequence[Curve], load: Load) -> Plan | None:
    return next(iter(pareto(chosen(found, load))), None)


def _repriced(found: Sequence[Curve], device_id: str, price: Callable[[float], float]) -> list[Curve]:
    return [
        replace(c, usd_per_device_hour=price(c.usd_per_device_hour))
        if c.plan.device_id == device_id and c.usd_per_device_hour is not None
        else c
        for c in found
    ]
