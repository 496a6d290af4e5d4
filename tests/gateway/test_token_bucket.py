"""Limits hold in every window, refused clients recover, memory is bounded; the defects of textbook limiters are absent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.manual_clock import ManualClock

from workbench.core.errors import InvalidSpec
from workbench.gateway.token_bucket import Buckets, Penalties, Rate, Refused, Reservation

steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "wait"]),
        st.floats(0.0, 30.0),  # cost, or seconds
        st.floats(0.0, 3.0),  # true cost over the estimate
        st.integers(0, 5),
    ),
    max_size=80,
)


@settings(max_examples=100)
@given(steps, st.floats(0.5, 20.0), st.floats(1.0, 50.0))
def test_what_is_settled_in_any_window_is_bounded(script, per_s, burst):
    """Settled tokens <= burst + rate x W, plus the estimates of what was under way when the window began, plus what exceeded estimates."""
    clock = ManualClock()
    buckets = Buckets(Rate(per_s=per_s, burst=burst), clock=clock)
    under_way, settled = [], []
    for what, amount, factor, which in script:
        if what == "wait":
            clock.now += amount / 10
        elif what == "reserve":
            taken = buckets.reserve("a", amount)
            if isinstance(taken, Reservation):
                under_way.append((clock.now, taken))
            else:
                assert taken.retry_after_s is None or taken.retry_after_s > 0
        elif under_way:
            began, taken = under_way.pop(which % len(under_way))
            buckets.settle(taken, taken.cost * factor)
            settled.append((clock.now, taken.cost * factor, taken.cost, began))
    for i, (start, *_) in enumerate(settled):
        for j in range(i, len(settled)):
            window = settled[i : j + 1]
            spent = sum(cost for _, cost, _, _ in window)
            over = sum(max(0.0, cost - estimate) for _, cost, estimate, _ in window)
            before = sum(estimate for _, _, estimate, began in window if began < start)
            assert spent <= burst + per_s * (settled[j][0] - start) + over + before + 1e-6


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=50), st.floats(1.0, 20.0))
def test_estimates_that_are_right_keep_the_plain_bound(costs, per_s):
    clock = ManualClock()
    buckets = Buckets(Rate(per_s=per_s, burst=10.0), clock=clock)
    spent = []
    for cost in costs:
        taken = buckets.reserve("a", cost)
        if isinstance(taken, Reservation):
            buckets.settle(taken, cost)
            spent.append((clock.now, cost))
        clock.now += 0.1
    for i, (start, _) in enumerate(spent):
        for j in range(i, len(spent)):
            assert sum(c for _, c in spent[i : j + 1]) <= 10.0 + per_s * (spent[j][0] - start) + 1e-6


def test_a_refused_client_recovers_when_it_was_told_and_refusals_cost_nothing():
    clock = ManualClock()
    buckets = Buckets(Rate(per_s=10.0, burst=10.0), clock=clock)
    assert isinstance(buckets.reserve("a", 10), Reservation)
    for _ in range(20_000):  # hammering does not starve (T2)
        told = buckets.reserve("a", 5)
        assert isinstance(told, Refused)
    assert told.retry_after_s == pytest.approx(0.5)
    clock.now += told.retry_after_s
    assert isinstance(buckets.reserve("a", 5), Reservation)


def test_high_rates_limit_too_and_sustained_overload_gets_its_rate():
    clock = ManualClock()
    buckets = Buckets(Rate(per_s=1000.0, burst=1000.0), clock=clock)  # T1: a history of 60 would never limit
    taken = 0
    for _ in range(30_000):
        clock.now += 1e-4
        taken += isinstance(buckets.reserve("a", 1), Reservation)
    assert taken == pytest.approx(1000 + 3 * 1000, rel=0.01)


def test_a_cost_above_the_burst_is_refused_for_ever_and_said_so():
    told = Buckets(Rate(per_s=1.0, burst=5.0), clock=ManualClock()).reserve("a", 6)
    assert told == Refused(retry_after_s=None)


def test_settling_twice_gives_nothing_back():
    buckets = Buckets(Rate(per_s=1.0, burst=10.0), clock=ManualClock())
    taken = buckets.reserve("a", 8)
    buckets.settle(taken, 0)
    assert buckets.level("a") == 10
    buckets.settle(taken, 0)
    assert buckets.level("a") == 10
    more = buckets.reserve("a", 8)
    buckets.settle(more, 20)  # it took more than it had reserved: owed
    assert buckets.level("a") == -10
    assert isinstance(buckets.reserve("a", 0.5), Refused)


def test_any_number_of_keys_takes_bounded_memory():
    clock = ManualClock()
    buckets = Buckets(Rate(per_s=1.0, burst=1.0), clock=clock, max_keys=1000)
    penalties = Penalties(limit=5, half_life_s=60, clock=clock, max_keys=1000)
    for i in range(60_000):
        clock.now += 1e-5
        buckets.reserve(f"ip{i}", 1)
        if i % 10 == 0:
            penalties.offend(f"ip{i}")
    assert len(buckets) <= 1000
    assert len(penalties) <= 1000
    clock.now += 10
    for _ in range(2000):  # full buckets are forgotten as others are used
        buckets.reserve("busy", 1)
        clock.now += 1
    assert len(buckets) <= 2


def test_keys_are_apart():
    buckets = Buckets(Rate(per_s=1.0, burst=1.0), clock=ManualClock())
    assert isinstance(buckets.reserve("a", 1), Reservation)
    assert isinstance(buckets.reserve("b", 1), Reservation)


def test_penalties_fade_and_a_refusal_is_no_offence():
    clock = ManualClock()
    penalties = Penalties(limit=4, half_life_s=60, clock=clock)
    for _ in range(8):
        penalties.offend("a")
    told = penalties.refusal("a")
    assert told.retry_after_s == pytest.approx(60.0)
    for _ in range(1000):
        clock.now += 0.06
        penalties.refusal("a")
    assert penalties.refusal("a") is None  # S1: not blocked for ever
    assert penalties.refusal("b") is None


def test_odd_numbers_are_refused():
    with pytest.raises(InvalidSpec, match="rate of 0"):
        Rate(per_s=0, burst=1)
    buckets = Buckets(Rate(per_s=1, burst=1), clock=ManualClock())
    for cost in (-1.0, float("nan")):
        with pytest.raises(InvalidSpec, match="cost of"):
            buckets.reserve("a", cost)
    with pytest.raises(InvalidSpec, match="max_keys"):
        Buckets(Rate(per_s=1, burst=1), clock=ManualClock(), max_keys=0)
    with pytest.raises(InvalidSpec, match="half-life"):
        Penalties(limit=1, half_life_s=0, clock=ManualClock())
