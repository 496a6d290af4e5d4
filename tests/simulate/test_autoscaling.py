"""Scaling rules over traffic: what must hold of every play, and what each rule is known for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import InvalidSpec
from workbench.simulate.autoscaling import (
    Covered,
    Fixed,
    Predictive,
    QueueLength,
    Relief,
    Traffic,
    Utilization,
    pareto,
    play,
)

COMMON = {"start_s": 60.0, "promised_s": 1.0}


def steady(rate, seconds=600, work=0.1):
    return Traffic(requests=np.full(seconds, rate), work_s=np.full(seconds, rate * work))


def test_enough_replicas_keep_every_promise_and_cost_their_hours():
    played = play(steady(10.0), Fixed(n=2), first=2, **COMMON)
    assert played.slo_minutes == 0
    assert played.gpu_hours == pytest.approx(2 * 600 / 3600)
    assert played.n_changes == 0


def test_too_few_replicas_wait_longer_by_the_second():
    """Work of two replicas a second on one: after t seconds t seconds of work are left, and a request waits as long."""
    played = play(steady(20.0, seconds=100), Fixed(n=1), first=1, **COMMON)
    assert played.waits_s[50] == pytest.approx(50.5)
    assert played.late_fraction > 0.95


def test_a_surge_is_late_until_started_replicas_are_ready():
    requests = np.concatenate([np.full(300, 5.0), np.full(300, 50.0)])
    traffic = Traffic(requests=requests, work_s=requests * 0.1)
    slow = play(traffic, Utilization(), first=1, start_s=120.0, promised_s=1.0)
    fast = play(traffic, Utilization(), first=1, start_s=10.0, promised_s=1.0)
    assert slow.slo_minutes >= 2.0
    assert fast.slo_minutes < slow.slo_minutes


def test_a_warm_spare_serves_at_once_and_is_paid_for():
    requests = np.concatenate([np.full(300, 5.0), np.full(300, 15.0)])
    traffic = Traffic(requests=requests, work_s=requests * 0.1)
    plain = play(traffic, Covered(start_s=120.0), first=1, start_s=120.0, promised_s=1.0)
    warm = play(traffic, Covered(start_s=120.0), first=1, start_s=120.0, promised_s=1.0, warm=2)
    assert warm.slo_minutes < plain.slo_minutes
    assert warm.gpu_hours > plain.gpu_hours


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 50), min_size=60, max_size=300),
    st.sampled_from([QueueLength, Utilization, lambda: Predictive(start_s=30.0), lambda: Covered(start_s=30.0)]),
    st.integers(1, 4),
)
def test_replicas_stay_within_their_bounds_whatever_comes(rates, make, first):
    requests = np.array(rates)
    played = play(
        Traffic(requests=requests, work_s=requests * 0.1),
        make(),
        first=first,
        least=1,
        most=12,
        start_s=30.0,
        promised_s=1.0,
    )
    assert played.replicas.min() >= 1
    assert played.most <= 12
    assert played.gpu_hours >= played.replicas.sum() / 3600 - 1e-9
    assert 0 <= played.late_fraction <= 1
    assert (played.waits_s >= 0).all()


def test_a_cache_and_shorter_answers_take_work_away():
    traffic = steady(12.0, work=0.1)
    bare = play(traffic, Fixed(n=1), first=1, **COMMON)
    cached = play(traffic, Fixed(n=1), first=1, relief=Relief(cached=0.3), **COMMON)
    shorter = play(traffic, Fixed(n=1), first=1, relief=Relief(shorter_above_s=0.5, shorter_to=0.5), **COMMON)
    assert bare.late_fraction > 0.9
    assert cached.late_fraction == 0
    assert shorter.late_fraction == 0
    assert 0 < shorter.shorter_fraction < 1


def test_the_best_are_those_that_no_other_beats():
    cheap, dear, worse = (play(steady(r), Fixed(n=n), first=n, **COMMON) for r, n in ((12.0, 1), (12.0, 2), (14.0, 1)))
    assert pareto({"cheap": cheap, "dear": dear, "worse": worse}) == ["cheap", "dear"]


@pytest.mark.parametrize("wrong", [{"start_s": 0.0}, {"promised_s": 0.0}, {"first": 0}, {"most": 0}, {"warm": -1}])
def test_odd_numbers_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        play(steady(1.0), Fixed(n=1), **({"first": 1} | COMMON | wrong))
