"""What machines cost over time: spot machines that go away, traffic with day and night, and machines of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, exp

from workbench.core.checks import require_fraction, require_positive
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.estimate.search import SLACK

HOURS_PER_YEAR = 8766.0
MOST_SPARES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotMarket:
    """How often a spot machine is taken away, and how long until another serves in its place.

    Interruptions are taken to be independent and to come at a constant rate; a provider that takes many machines at once is
    worse than this.
    """

    interruptions_per_hour: float
    return_s: float
    """Until another machine has been found, started and has loaded the model."""

    def __post_init__(self) -> None:
        require_positive(self, "interruptions_per_hour", "return_s")

    @property
    def availability(self) -> float:
        """Share of the time in which a machine serves: mean time up over mean time up and down."""
        return 1 / (1 + self.interruptions_per_hour * self.return_s / 3600)

    def serving(self, n_machines: int) -> list[float]:
        """Chance that exactly 0, 1, ... of so many machines serve (binomial)."""
        a = self.availability
        return [comb(n_machines, k) * a**k * (1 - a) ** (n_machines - k) for k in range(n_machines + 1)]

    def interrupted_fraction(self, request_s: float) -> float:
        """Chance that a request of so many seconds loses its machine; it then starts again from the beginning."""
        return 1 - exp(-self.interruptions_per_hour * request_s / 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Replicas that are always there, and replicas on spot machines."""

    n_on_demand: int
    n_spot: int
    usd_per_hour: float
    enough_fraction: float
    """Share of the time in which at least the needed number serves."""
    expected_serving: float


def mixed_fleets(
    needed: int, *, on_demand_usd: float, spot_usd: float, market: SpotMarket, promise: float = 0.999
) -> list[Fleet]:
    """For each number of replicas that are always there, the fewest spot replicas that keep the promise, cheapest first.

    Args:
        needed: Replicas that the load needs.
        on_demand_usd: Of one replica and hour.
        spot_usd: Likewise; a machine that is away is not paid for.
        market: Of the spot machines.
        promise: Share of the time in which enough replicas must serve.

    Raises ``DoesNotFit`` when even many spare spot machines do not keep it.
    """
    if needed < 1 or not 0 < promise < 1:
        raise InvalidSpec(
            f"{needed} replicas for {promise} of the time.", remedy="Give 1 or more, and a share below 1."
        )
    fleets = []
    for always in range(needed + 1):
        missing = needed - always
        for spot in range(missing, missing + MOST_SPARES):
            chances = market.serving(spot)
            enough = sum(chances[missing:])
            if enough >= promise:
                up = spot * market.availability
                usd = always * on_demand_usd + up * spot_usd
                made = Fleet(
                    n_on_demand=always,
                    n_spot=spot,
                    usd_per_hour=usd,
                    enough_fraction=min(1.0, enough),
                    expected_serving=always + up,
                )
                fleets.append(made)
                break
    if not fleets:
        raise DoesNotFit(
            f"Not even {MOST_SPARES} spare spot machines keep {promise}.", remedy="Use machines on demand."
        )
    return sorted(fleets, key=lambda f: (f.usd_per_hour, f.n_spot))


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCost:
    """A day of traffic."""

    n_peak: int
    machine_hours_fixed: float
    """With the peak's replicas all day."""
    machine_hours_scaled: float
    """With as many as each moment needs, started early enough."""

    @property
    def saving_fraction(self) -> float:
        """Of scaling over the fixed fleet."""
        return 1 - self.machine_hours_scaled / self.machine_hours_fixed


def day_cost(
    rates_per_s: Sequence[float], *, capacity_per_s: float, busy_fraction: float = 0.8, start_s: float = 300.0
) -> DayCost:
    """Machine hours of a day with and without scaling.

    Args:
        rates_per_s: Requests a second in equal parts of a day.
        capacity_per_s: Of one replica within the promises.
        busy_fraction: Of the capacity that is planned with.
        start_s: A replica is started so long before it is needed, and paid for.
    """
    if not rates_per_s or min(rates_per_s) < 0 or capacity_per_s <= 0 or not 0 < busy_fraction <= 1 or start_s < 0:
        raise InvalidSpec("A day needs rates from 0 on, a capacity and a share.", remedy="Give numbers above zero.")
    part_h = 24 / len(rates_per_s)
    needed = [max(1, ceil(r / (capacity_per_s * busy_fraction) * (1 - SLACK))) for r in rates_per_s]
    rises = sum(max(0, b - a) for a, b in zip([needed[-1], *needed], needed, strict=False))
    return DayCost(
        n_peak=max(needed),
        machine_hours_fixed=24.0 * max(needed),
        machine_hours_scaled=sum(needed) * part_h + rises * start_s / 3600,
    )


def reserved_break_even(reserved_usd: float, on_demand_usd: float) -> float:
    """Share of the term in which a machine must be used for a reserved one to cost less than one on demand.

    A reserved machine is paid for whether it is used or not. Above 1 it never pays.
    """
    if reserved_usd <= 0 or on_demand_usd <= 0:
        raise InvalidSpec(f"Prices {reserved_usd} and {on_demand_usd}.", remedy="Give prices above zero.")
    return reserved_usd / on_demand_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """A machine of one's own."""

    purchase_usd: float
    """Of one device with its share of server and network."""
    years: float = 4.0
    power_w: float = 700.0
    """Of one device with its share of the server, while it works."""
    overhead: float = 1.3
    """Power of the building over that of the machines (PUE)."""
    usd_per_kwh: float = 0.12
    yearly_fraction: float = 0.08
    """Of the purchase, for space, people and repairs."""
    used_fraction: float = 0.7
    """Of the hours in which it earns anything; an idle machine of one's own is still paid for."""

    def __post_init__(self) -> None:
        require_positive(self, "purchase_usd", "years", "power_w", "overhead", "usd_per_kwh", "yearly_fraction")
        require_fraction(self, "used_fraction")

    @property
    def usd_per_hour(self) -> float:
        """Of an hour in which it is used."""
        capital = self.purchase_usd * (1 / self.years + self.yearly_fraction) / HOURS_PER_YEAR
        return capital / self.used_fraction + self.energy_usd_per_hour

    @property
    def energy_usd_per_hour(self) -> float:
        """Power alone."""
        return self.power_w / 1e3 * self.overhead * self.usd_per_kwh


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """What a served load costs by unit."""

    usd_per_request: float
    usd_per_good_request: float | None
    """None when none is good."""
    usd_per_million_input_tokens: float
    usd_per_million_output_tokens: float


def unit_costs(
    usd_per_hour: float,
    *,
    requests_per_s: float,
    input_tokens: float,
    output_tokens: float,
    prompt_time_fraction: float,
    good_fraction: float = 1.0,
) -> UnitCosts:
    """The hourly price over what is served in an hour; idle time is in the price.

    Args:
        usd_per_hour: Of all machines.
        requests_per_s: That come in, whatever the machines could do.
        input_tokens: Of a request.
        output_tokens: Of a request.
        prompt_time_fraction: Of the working time that prompts take; the price is split so between input and output.
        good_fraction: Of the requests, those that keep the promises.
    """
    per_request = usd_per_hour / (requests_per_s * 3600)
    return UnitCosts(
        usd_per_request=per_request,
        usd_per_good_request=per_request / good_fraction if good_fraction > 0 else None,
        usd_per_million_input_tokens=1e6 * per_request * prompt_time_fraction / input_tokens,
        usd_per_million_output_tokens=1e6 * per_request * (1 - prompt_time_fraction) / output_tokens,
    )
