"""Breakers open on failures and on slowness, let a few probes through, and close when all of them succeed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.manual_clock import ManualClock

from workbench.core.errors import InvalidSpec
from workbench.gateway.breaker import Breaker, BreakerRule, BreakerState, RetryBudget

RULE = BreakerRule(failed_fraction=0.5, slow_s=1.0, least_calls=4, window_s=10.0, open_s=5.0, probes=2)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def breaker(clock):
    return Breaker(RULE, clock=clock)


def calls(breaker, n, *, failed=False, took_s=0.1):
    for _ in range(n):
        ticket = breaker.begin()
        assert ticket is not None
        breaker.end(ticket, failed=failed, took_s=took_s)


def test_a_few_failures_among_good_calls_change_nothing(breaker):
    calls(breaker, 10)
    calls(breaker, 5, failed=True)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("bad", [{"failed": True}, {"took_s": 5.0}])
def test_failures_and_slowness_open_it_and_good_probes_close_it(breaker, clock, bad):
    calls(breaker, 4, **bad)
    assert breaker.state is BreakerState.OPEN
    assert breaker.begin() is None
    assert breaker.retry_after_s == pytest.approx(5.0)
    clock.now += 5
    assert breaker.state is BreakerState.HALF_OPEN
    first, second = breaker.begin(), breaker.begin()
    assert breaker.begin() is None  # two probes and no more
    breaker.end(first, failed=False, took_s=0.1)
    assert breaker.begin() is None
    breaker.end(second, failed=False, took_s=0.1)
    assert breaker.state is BreakerState.CLOSED
    calls(breaker, 3, failed=True)  # what was before is forgotten
    assert breaker.state is BreakerState.CLOSED


def test_a_failed_probe_opens_it_again_for_the_whole_time(breaker, clock):
    calls(breaker, 4, failed=True)
    clock.now += 5
    breaker.end(breaker.begin(), failed=True, took_s=0.1)
    assert breaker.state is BreakerState.OPEN
    assert breaker.retry_after_s == pytest.approx(5.0)


def test_a_probe_whose_client_left_gives_its_place_back(breaker, clock):
    calls(breaker, 4, failed=True)
    clock.now += 5
    for _ in range(5):
        breaker.abandon(breaker.begin())
    assert breaker.begin() is not None


def test_calls_that_began_before_it_opened_count_no_more(breaker, clock):
    old = breaker.begin()
    calls(breaker, 4, failed=True)
    clock.now += 5
    breaker.end(old, failed=False, took_s=6.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.begin() is not None


def test_old_calls_leave_the_window(breaker, clock):
    calls(breaker, 3, failed=True)
    clock.now += 11
    calls(breaker, 3, failed=True)
    assert breaker.state is BreakerState.CLOSED


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=200))
def test_it_is_never_stuck(script):
    """Whatever came before, a replica that works from now on is used again after its pause and its probes."""
    clock = ManualClock()
    breaker = Breaker(RULE, clock=clock)
    for failed, wait in script:
        clock.now += wait
        ticket = breaker.begin()
        if ticket is not None:
            breaker.end(ticket, failed=failed, took_s=0.1)
    clock.now += RULE.open_s + RULE.window_s + 1
    calls(breaker, RULE.probes + 1)
    assert breaker.state is BreakerState.CLOSED


def test_retries_are_a_share_of_requests(clock):
    budget = RetryBudget(share=0.1, least_per_s=0.0, clock=clock, most=5)
    assert sum(budget.retry() for _ in range(100)) == 5
    n = 0
    for _ in range(1000):
        budget.request()
        n += budget.retry()
    assert n == pytest.approx(100, abs=1)


def test_few_requests_may_still_retry_now_and_then(clock):
    budget = RetryBudget(share=0.0, least_per_s=0.5, clock=clock, most=1)
    assert budget.retry()
    assert not budget.retry()
    clock.now += 2
    assert budget.retry()


def test_odd_rules_are_refused(clock):
    for change in ({"failed_fraction": 0}, {"open_s": 0}, {"probes": 0}, {"slow_fraction": 1.5}):
        with pytest.raises(InvalidSpec):
            BreakerRule(**change)
    with pytest.raises(InvalidSpec):
        RetryBudget(share=2, clock=clock)
