"""Spot machines, days and ownership: properties and worked examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.prices import median_price, median_reserved_price
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.estimate.fleet import Ownership, SpotMarket, day_cost, mixed_fleets, reserved_break_even, unit_costs

MARKET = SpotMarket(interruptions_per_hour=1 / 24, return_s=600)


def test_a_worked_example_of_availability():
    # Up for 24 hours on average, away for 10 minutes: 24 / (24 + 1/6).
    assert MARKET.availability == pytest.approx(24 / (24 + 1 / 6))


@given(st.integers(1, 12), st.floats(0.05, 0.9))
def test_the_cheapest_fleet_keeps_the_promise_and_never_costs_more_than_no_spot(needed, ratio):
    fleets = mixed_fleets(needed, on_demand_usd=10.0, spot_usd=10.0 * ratio, market=MARKET)
    assert all(f.enough_fraction >= 0.999 for f in fleets)
    assert fleets[0].usd_per_hour <= 10.0 * needed + 1e-9
    only = next(f for f in fleets if f.n_spot == 0)
    assert only.n_on_demand == needed
    assert only.usd_per_hour == pytest.approx(10.0 * needed)


def test_machines_that_go_away_more_often_need_more_spares():
    rough = SpotMarket(interruptions_per_hour=2.0, return_s=600)
    spares = [
        next(f for f in mixed_fleets(4, on_demand_usd=1, spot_usd=0.1, market=m) if f.n_on_demand == 0).n_spot
        for m in (MARKET, rough)
    ]
    assert 4 < spares[0] < spares[1]


def test_a_day_without_night_saves_nothing_and_exact_multiples_buy_no_machine():
    flat = day_cost([16.0] * 24, capacity_per_s=10.0, busy_fraction=0.8)
    assert flat.n_peak == 2
    assert flat.saving_fraction == pytest.approx(0.0)
    day = day_cost([8.0] * 12 + [16.0] * 12, capacity_per_s=10.0, busy_fraction=0.8, start_s=3600)
    assert day.machine_hours_fixed == 48
    assert day.machine_hours_scaled == pytest.approx(12 + 24 + 1)


def test_an_owned_machine_costs_what_its_parts_cost():
    owned = Ownership(purchase_usd=8766.0, years=1, power_w=1000, overhead=1.0, usd_per_kwh=0.5, yearly_fraction=1.0)
    assert owned.energy_usd_per_hour == pytest.approx(0.5)
    assert owned.usd_per_hour == pytest.approx(2 / 0.7 + 0.5)


@given(st.floats(0.01, 0.99), st.floats(0.1, 1))
def test_input_and_output_add_up_to_the_request(share, good):
    units = unit_costs(
        36.0, requests_per_s=2, input_tokens=1000, output_tokens=100, prompt_time_fraction=share, good_fraction=good
    )
    assert units.usd_per_request == pytest.approx(0.005)
    parts = units.usd_per_million_input_tokens * 1e-3 + units.usd_per_million_output_tokens * 1e-4
    assert parts == pytest.approx(units.usd_per_request)
    assert units.usd_per_good_request == pytest.approx(0.005 / good)


def test_nonsense_is_refused():
    with pytest.raises(InvalidSpec):
        mixed_fleets(0, on_demand_usd=1, spot_usd=1, market=MARKET)
    with pytest.raises(InvalidSpec):
        day_cost([], capacity_per_s=1)
    with pytest.raises(InvalidSpec):
        SpotMarket(interruptions_per_hour=0, return_s=1)
    hopeless = SpotMarket(interruptions_per_hour=1e6, return_s=36000)
    assert mixed_fleets(1, on_demand_usd=1, spot_usd=0.1, market=hopeless)[0].n_spot == 0
    assert issubclass(DoesNotFit, Exception)


def test_a_reserved_machine_pays_from_the_share_that_its_price_is_of_the_other():
    used = reserved_break_even(18.98, 30.13)
    assert used == pytest.approx(0.63, abs=0.001)
    hours = 8766
    assert 18.98 * hours == pytest.approx(30.13 * used * hours)
    with pytest.raises(InvalidSpec, match="Prices"):
        reserved_break_even(0, 1)


def test_listed_prices_for_a_term_are_of_one_device():
    found = median_reserved_price("l40s")
    listed = median_price("l40s")
    assert found.usd_per_gpu_hour < listed.usd_per_gpu_hour
    assert "1-year" in found.label
    assert median_reserved_price("h200-sxm") is None
