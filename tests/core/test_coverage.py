"""Every 95 % interval covers the truth as often as it says, counted on simulated measurements with fixed seeds."""

import math

import numpy as np
import pytest

from workbench.core.dependent import dependence, mean_of_batches, mean_with_dependence, share_with_dependence
from workbench.core.statistics import (
    Interval,
    block_bootstrap,
    drift_fraction,
    median_over_rounds,
    paired_ratio,
    ratio_with_interval,
    resampled_mean_interval,
    share_interval,
)
from workbench.estimate.change_point import first_change

SLO_MET = 0.9


def autoregressive(rng, n_series, n, correlation):
    noise = rng.normal(size=(n_series, n)) * math.sqrt(1 - correlation**2)
    series = np.empty((n_series, n))
    series[:, 0] = rng.normal(size=n_series)
    for i in range(1, n):
        series[:, i] = correlation * series[:, i - 1] + noise[:, i]
    return series


def queue(rng, n_loads, n_requests, load):
    """Response times of an M/M/1 queue that has settled (Lindley 1952): (loads, requests)."""
    waiting = np.where(rng.random(n_loads) < load, rng.exponential(1 / (1 - load), n_loads), 0.0)
    service, gaps = rng.exponential(1, (n_loads, n_requests)), rng.exponential(1 / load, (n_loads, n_requests))
    times = np.empty((n_loads, n_requests))
    for i in range(n_requests):
        times[:, i] = waiting + service[:, i]
        waiting = np.maximum(0, waiting + service[:, i] - gaps[:, i])
    return times


def covered(intervals, truth):
    return float(np.mean([low <= truth <= high for low, high in intervals]))


@pytest.mark.parametrize("n_requests", [300, 1000])
@pytest.mark.parametrize("load", [0.3, 0.8, 0.95])
def test_slo_attainment_of_requests_in_one_queue(load, n_requests):
    times = queue(np.random.default_rng(11), 250, n_requests, load)
    limit = -math.log(1 - SLO_MET) / (1 - load)  # response times are exponential
    shares = [share_with_dependence((one <= limit).astype(float), one) for one in times]
    # Near saturation the interval is nearly all of 0 to 1, and covers more than it says.
    assert 0.92 <= covered([(s.low, s.high) for s in shares], SLO_MET) <= (0.98 if load < 0.9 else 1.0)


@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.93), (0.5, 0.93), (0.8, 0.9)])
def test_a_mean_of_batches_of_samples_that_are_read_more_often_than_they_change(correlation, least):
    """Three rounds of five seconds; ten samples a second of a value that changes six times a second and resembles the last one.

    Values that stay alike for most of a batch cost some of the level.
    """
    rng, batches = np.random.default_rng(13), 15
    at = (np.arange(10 * batches) * 6) // 10
    series = 90 + 4 * autoregressive(rng, 2000, at[-1] + 1, correlation)[:, at]
    intervals = [mean_of_batches(one.reshape(batches, 10).mean(1)) for one in series]
    assert least <= covered([(i.low, i.high) for i in intervals], 90) <= 0.985
    assert mean_of_batches(np.full(5, 99.0), within=(0, 100)) == Interval(99.0, 99.0, 99.0)


@pytest.mark.parametrize(("load", "n_requests"), [(0.3, 300), (0.3, 1000), (0.6, 3000), (0.8, 1000), (0.95, 1000)])
def test_a_mean_latency_is_right_or_refused(load, n_requests):
    intervals = [mean_with_dependence(one) for one in queue(np.random.default_rng(12), 250, n_requests, load)]
    given = [i for i in intervals if i is not None]
    wrong = sum(not low <= 1 / (1 - load) <= high for low, high in given)
    assert wrong / len(intervals) <= 0.08
    if load <= 0.3 or n_requests >= 3000:
        assert len(given) > 0.85 * len(intervals)
        assert 0.92 <= covered(given, 1 / (1 - load)) <= 0.98
    if load > 0.9:
        assert len(given) < 0.05 * len(intervals)


@pytest.mark.parametrize("n_windows", [16, 64])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
@pytest.mark.parametrize("spread", [0.5])
def test_a_mean_over_neighbouring_windows(n_windows, correlation, spread):
    series = autoregressive(np.random.default_rng(13), 250, n_windows, correlation)
    values, truth = (np.exp(spread * series), math.exp(spread**2 / 2)) if spread else (series, 0.0)
    found = [block_bootstrap(n_windows, lambda i, v=v: float(v[i].mean()), seed=0, resamples=200) for v in values]
    assert 0.92 <= covered([(f.low, f.high) for f in found], truth) <= 0.98


@pytest.mark.parametrize("n_rounds", [3, 5, 7, 15])
def test_a_median_over_rounds(n_rounds):
    rng = np.random.default_rng(14)
    for rounds in (3 + 0.2 * rng.normal(size=(400, n_rounds)), 3 * np.exp(0.7 * rng.normal(size=(400, n_rounds)))):
        assert 0.93 <= covered([(m.low, m.high) for m in map(median_over_rounds, rounds)], 3.0) <= 0.98


@pytest.mark.parametrize("round_sd", [0.01, 0.03, 0.05])
def test_a_decode_step_timed_in_rounds_that_differ(round_sd):
    rng = np.random.default_rng(15)
    steps = (1 + round_sd * rng.normal(size=(500, 7, 1))) * np.exp(0.02 * rng.normal(size=(500, 7, 32)))
    found = map(median_over_rounds, np.median(steps, axis=2))
    assert 0.93 <= covered([(m.low, m.high) for m in found], 1.0) <= 0.97


def healthy(rng, kind, n_loads, n):
    if kind == "constant and exponential":
        return 0.1 + rng.exponential(0.02, (n_loads, n))
    if kind == "log-normal":
        return np.exp(0.3 * rng.normal(size=(n_loads, n)))
    return 1 + queue(rng, n_loads, n, 0.6)


@pytest.mark.parametrize("kind", ["log-normal", "constant and exponential", "queue"])
def test_a_change_of_latency_is_seldom_found_where_there_is_none(kind):
    loads = healthy(np.random.default_rng(17), kind, 60, 300)
    alarms = sum(first_change(x[:150], x[150:], false_alarm_rate=0.01) is not None for x in loads)
    assert alarms <= 3  # 5 % of 60, where 1 % is asked for


def test_a_doubled_latency_is_found():
    loads = healthy(np.random.default_rng(18), "log-normal", 30, 300)
    found = sum(first_change(x[:150], 2 * x[150:], false_alarm_rate=0.01) is not None for x in loads)
    assert found >= 24


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_share_of_independent_trials(n, share):
    hits = np.random.default_rng(19).binomial(n, share, 2000)
    found = [share_interval(int(h), n) for h in hits]
    assert 0.90 <= covered([(f.low, f.high) for f in found], share) <= 0.99  # Wilson's, of whole numbers


@pytest.mark.parametrize("n", [8, 30])
def test_a_mean_of_independent_values(n):
    values = np.random.default_rng(20).normal(5, 1, (300, n))
    found = [resampled_mean_interval(v, seed=0, resamples=400) for v in values]
    assert 0.92 <= covered(found, 5.0) <= 0.98


def test_dependence_is_one_for_independent_values_and_grows_with_their_correlation():
    rng = np.random.default_rng(16)
    alone, alike = (float(np.median([dependence(s) for s in autoregressive(rng, 20, 2000, c)])) for c in (0.0, 0.8))
    assert alone == pytest.approx(1.0, abs=0.3)
    assert alike == pytest.approx(9.0, rel=0.3)  # (1 + 0.8) / (1 - 0.8)
    assert dependence(np.ones(50)) == 1.0


def test_drift_is_the_change_from_the_first_to_the_last_rounds():
    assert drift_fraction([1.0, 1.0, 1.1, 1.1, 1.2, 1.2]) == pytest.approx(0.2)
    assert drift_fraction([1.0] * 5) is None


@pytest.mark.parametrize("spread", [0.05, 0.2])
def test_a_ratio_of_independent_values_with_intervals(spread):
    rng = np.random.default_rng(23)
    tops, bottoms = rng.normal(3.0, 3 * spread, 4000), rng.normal(2.0, 2 * spread, 4000)
    ratios = [
        ratio_with_interval(
            Interval(a, a - 1.96 * 3 * spread, a + 1.96 * 3 * spread),
            Interval(b, b - 1.96 * 2 * spread, b + 1.96 * 2 * spread),
        )
        for a, b in zip(tops, bottoms, strict=True)
    ]
    known = [(r.low, r.high) for r in ratios if r is not None]
    assert len(known) > 0.95 * len(ratios)
    assert 0.93 <= covered(known, 1.5) <= 0.97


def test_a_ratio_of_pairs_that_share_their_spread():
    rng = np.random.default_rng(24)
    texts = rng.lognormal(0, 1, (300, 48))
    found = [paired_ratio(1.1 * t * rng.normal(1, 0.05, 48), t * rng.normal(1, 0.05, 48)) for t in texts]
    assert 0.92 <= covered([(f.low, f.high) for f in found], 1.1) <= 0.99
    assert np.median([f.half_width for f in found]) < 0.05  # the texts alone differ by a factor of ten
