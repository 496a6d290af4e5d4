"""What machines cost over time: spot machines that go away, traffic with day and night, and machines of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.checks import require_fraction, require_positive
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.language import gettext
from workbench.estimate.search import n_replicas_for

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Replicas that are always there, and replicas on spot machines."""

    n_on_demand: int
    n_spot: int
    usd_per_hour: float
    enough_fraction: float
    """Share of the time in which at least the needed number serves."""


def mixed_fleets(
    needed: int, *, on_demand_usd: float, spot_usd: float, market: SpotMarket, availability: float = 0.999
) -> list[Fleet]:
    """Return the fewest spot replicas that meet the availability, for each number of replicas on demand, cheapest first.

    Prices are of one replica and hour; a machine that is away is not paid for. ``availability`` is the share of the time
    in which enough replicas must serve.

    Raises ``DoesNotFit`` when even many spare spot machines do not keep it.
    """
    from scipy.stats import binom

    if needed < 1 or not 0 < availability < 1:
        raise InvalidSpec(
            gettext("{n} replicas for {share} of the time.").format(n=needed, share=availability),
            remedy=gettext("Give 1 or more, and a share below 1."),
        )
    fleets = []
    for always in range(needed + 1):
        missing = needed - always
        for spot in range(missing, missing + MOST_SPARES):
            enough = float(binom.sf(missing - 1, spot, market.availability))  # at least the missing ones serve
            if enough >= availability:
                usd = always * on_demand_usd + spot * market.availability * spot_usd
                fleets.append(Fleet(n_on_demand=always, n_spot=spot, usd_per_hour=usd, enough_fraction=enough))
                break
    if not fleets:
        raise DoesNotFit(
            gettext("Not even {n} spare spot machines reach an availability of {share}.").format(
                n=MOST_SPARES, share=availability
            ),
            remedy=gettext("Use machines on demand."),
        )
    return sorted(fleets, key=lambda f: (f.usd_per_hour, f.n_spot))


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCost:
    """Machine hours of a day of traffic."""

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
    """Return the machine hours of a day, whose rates are of equal parts of it, with and without scaling.

    Planned is with ``busy_fraction`` of a replica's capacity within the SLO; a replica is started, and paid for,
    ``start_s`` before it is needed.
    """
    if not rates_per_s or min(rates_per_s) < 0 or capacity_per_s <= 0 or not 0 < busy_fraction <= 1 or start_s < 0:
        raise InvalidSpec(
            gettext("A day needs rates from 0 on, a capacity and a share."), remedy=gettext("Give numbers above zero.")
        )
    part_h = 24 / len(rates_per_s)
    needed = [n_replicas_for(r, capacity_per_s * busy_fraction) for r in rates_per_s]
    rises = sum(max(0, b - a) for a, b in zip([needed[-1], *needed], needed, strict=False))
    return DayCost(
        n_peak=max(needed),
        machine_hours_fixed=24.0 * max(needed),
        machine_hours_scaled=sum(needed) * part_h + rises * start_s / 3600,
    )


def reserved_break_even(reserved_usd: float, on_demand_usd: float) -> float:
    """Return the share of the term in which a machine must be used for a reserved one to cost less than one on demand.

    A reserved machine is paid for whether it is used or not. Above 1 it never pays.
    """
    if reserved_usd <= 0 or on_demand_usd <= 0:
        raise InvalidSpec(
            gettext("Prices {reserved} and {on_demand}.").format(reserved=reserved_usd, on_demand=on_demand_usd),
            remedy=gettext("Give prices above zero."),
        )
    return reserved_usd / on_demand_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """A machine of one's own."""

    purchase_usd: float
    """Price of one device with its share of server and network."""
    years: float = 4.0
    power_w: float = 700.0
    """Power of one device with its share of the server, while it works."""
    overhead: float = 1.3
    """Power of the building over that of the machines (PUE)."""
    usd_per_kwh: float = 0.12
    yearly_fraction: float = 0.08
    """Share of the purchase price that space, people and repairs cost a year."""
    used_fraction: float = 0.7
    """Share of the hours in which it earns anything; an idle machine of one's own is still paid for."""

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
        """Price of the power alone for an hour."""
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
    """Return the hourly price of all machines over the requests of an hour; idle time is in the price.

    It is split between input and output by the share of the working time that prompts take; ``good_fraction`` of the
    requests meet the SLO.
    """
    per_request = usd_per_hour / (requests_per_s * 3600)
    return UnitCosts(
        usd_per_request=per_request,
        usd_per_good_request=per_request / good_fraction if good_fraction > 0 else None,
        usd_per_million_input_tokens=1e6 * per_request * prompt_time_fraction / input_tokens,
        usd_per_million_output_tokens=1e6 * per_request * (1 - prompt_time_fraction) / output_tokens,
    )
