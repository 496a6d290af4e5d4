"""Prices of devices on one basis: no device is dear because only a dear provider lists it."""

from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.catalog.price_rows import Price, is_stale, listings, prices
from workbench.catalog.prices import (
    device_prices,
    fitted_prices,
    median_price,
    median_reserved_price,
    median_spot_price,
)
from workbench.catalog.tables import devices

PROVIDERS, DEVICES = ("p1", "p2", "p3", "p4"), ("a", "b", "c", "d", "e")
amounts = st.floats(0.1, 100)


def price(provider, device, usd, *, date="2026-08-01", instance=""):
    return Price(
        provider=provider, instance=instance, device_id=device, usd_per_gpu_hour=usd, date=date, source="invented"
    )


@given(
    st.lists(amounts, min_size=5, max_size=5),
    st.lists(amounts, min_size=4, max_size=4),
    st.sets(st.tuples(st.integers(0, 3), st.integers(0, 4))),
)
@settings(deadline=None)
def test_where_all_providers_have_the_same_ratios_it_does_not_matter_who_lists_what(worths, dearness, also):
    chain = {(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4)}  # connects every device with every other
    listed = [price(PROVIDERS[p], DEVICES[d], worths[d] * dearness[p]) for p, d in chain | also]
    fitted = fitted_prices(listed)
    for one, other in zip(range(4), range(1, 5), strict=True):
        ratio = fitted[DEVICES[one]] / fitted[DEVICES[other]]
        assert isclose(ratio, worths[one] / worths[other], rel_tol=1e-6)


@given(st.dictionaries(st.tuples(st.sampled_from(PROVIDERS), st.sampled_from(DEVICES)), amounts, min_size=1))
@settings(deadline=None)
def test_a_device_for_which_every_common_provider_asks_more_is_never_shown_cheaper(table):
    fitted = fitted_prices([price(p, d, usd) for (p, d), usd in table.items()])
    for one in fitted:
        for other in fitted:
            pairs = [(table[p, one], table[p, other]) for p in PROVIDERS if (p, one) in table and (p, other) in table]
            if all(a <= b for a, b in pairs) and any(
                a < b for a, b in pairs
            ):  # asked the same, they may stand either way
                assert fitted[one] <= fitted[other] * (1 + 1e-9)


def test_the_shipped_prices_keep_the_order_in_which_every_common_provider_lists_two_devices():
    by_device: dict[str, dict[str, float]] = {}
    for p in listings(prices()):
        by_device.setdefault(p.device_id, {})[p.provider] = p.usd_per_gpu_hour
    known = device_prices()
    for one, its in by_device.items():
        for other, others in by_device.items():
            pairs = [(its[p], others[p]) for p in its if p in others]
            if pairs and all(a <= b for a, b in pairs):
                assert known[one].usd_per_gpu_hour <= known[other].usd_per_gpu_hour * (1 + 1e-9)
    assert (
        median_price("h100-sxm").usd_per_gpu_hour
        < median_price("h200-sxm").usd_per_gpu_hour
        < median_price("b200-sxm").usd_per_gpu_hour
    )


def test_a_dear_provider_alone_makes_no_device_dear():
    """Within one provider 2.95, 3.50 and 5.50; another that is twice as dear lists only the cheapest of the three."""
    listed = [price("near", d, usd) for d, usd in (("h100", 2.95), ("h200", 3.50), ("b200", 5.50))]
    fitted = fitted_prices([*listed, price("dear", "h100", 5.90)])
    assert fitted["h100"] < fitted["h200"] < fitted["b200"]
    assert isclose(fitted["b200"] / fitted["h100"], 5.50 / 2.95)
    assert isclose(fitted["h100"], (2.95 * 5.90) ** 0.5)  # at the middle of the two providers


def test_sizes_of_a_family_have_one_vote_and_the_newest_day_counts():
    sizes = [price("x", "l4", usd, instance=f"g6.{n}xlarge") for n, usd in ((1, 0.80), (4, 1.32), (16, 3.40))]
    assert [p.usd_per_gpu_hour for p in listings(sizes)] == [0.80]
    older = [price("x", "l4", 0.10, date="2024-01-01"), price("x", "l4", 0.10, date="unknown")]
    assert [p.usd_per_gpu_hour for p in listings([*older, *sizes])] == [0.80]


def test_old_prices_and_prices_without_a_day_are_stale():
    newest = max(p.day for p in prices() if p.day)
    assert not is_stale(price("x", "l4", 1, date=newest.isoformat()))
    assert is_stale(price("x", "l4", 1, date="2024-12-23"))
    assert is_stale(price("x", "l4", 1, date="stored 2026 snapshot, day unknown"))
    h100 = median_price("h100-sxm")
    assert 0 < h100.n_stale < h100.n_providers
    assert f"{h100.n_stale} of {h100.n_providers} stale" in h100.label
    assert f"{h100.low.usd_per_gpu_hour:.2f} ({h100.low.provider})" in h100.label


@pytest.mark.parametrize("kind", [median_spot_price, median_reserved_price])
def test_spot_and_reserved_prices_are_below_the_price_on_demand(kind):
    found = {d: kind(d) for d in devices()}
    assert sum(p is not None for p in found.values()) >= 3
    for device, p in found.items():
        assert p is None or p.usd_per_gpu_hour < median_price(device).usd_per_gpu_hour
