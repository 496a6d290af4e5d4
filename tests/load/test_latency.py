"""Percentiles with failures and intervals that hold what they promise, also for dependent samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.load.latency import distribution
from workbench.load.request_record import RequestRecord
from workbench.load.steady import steady_state


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=300))
def test_without_failures_percentiles_are_the_plain_ones(values):
    found = distribution(np.array(values))
    assert found.p50 == pytest.approx(np.quantile(values, 0.5))
    assert found.p99 == pytest.approx(np.quantile(values, 0.99))
    assert found.mean == pytest.approx(np.mean(values))


def test_kaplan_meier_worked_example():
    # Times 1, 2+, 3, 4 (+ censored): survival 3/4 after 1, 3/8 after 3, 0 after 4, so the median is 3.
    found = distribution(np.array([1.0, 2.0, 3.0, 4.0]), censored=np.array([False, True, False, False]))
    assert found.p50 == 3.0
    assert found.n_censored == 1


def test_time_outs_are_not_dropped():
    values = np.array([0.1] * 95 + [10.0] * 5)
    found = distribution(values, censored=values == 10.0)
    assert found.p50 == pytest.approx(0.1)
    assert found.p99 is None  # it lies beyond the time-out, where no answer was seen


def test_all_failed_has_no_figures():
    found = distribution(np.array([1.0, 1.0]), censored=np.array([True, True]))
    assert (found.mean, found.p50, found.p99) == (None, None, None)


def autoregressive(rng, n, correlation):
    noise = rng.normal(size=n) * np.sqrt(1 - correlation**2)
    values = np.empty(n)
    values[0] = rng.normal()
    for i in range(1, n):
        values[i] = correlation * values[i - 1] + noise[i]
    return values


@pytest.mark.parametrize(("correlation", "at_least"), [(0.0, 0.92), (0.8, 0.92)])
def test_intervals_cover_the_truth_for_dependent_latencies(correlation, at_least):
    rng = np.random.default_rng(1)
    runs = 150
    truth = {"mean": np.exp(0.5), "p50": 1.0, "p90": np.exp(1.2815515655)}
    found = [distribution(np.exp(autoregressive(rng, 2000, correlation))).interval for _ in range(runs)]
    for name, value in truth.items():
        given = [i[name] for i in found if i[name] is not None]
        assert len(given) > 0.9 * runs
        assert at_least <= np.mean([low <= value <= high for low, high in given]) <= 0.99


def test_p99_of_few_samples_has_no_interval():
    rng = np.random.default_rng(0)
    assert distribution(rng.exponential(size=200)).interval["p99"] is None
    assert distribution(rng.exponential(size=2000)).interval["p99"] is not None


def test_gaps_of_one_request_stay_in_one_batch():
    rng = np.random.default_rng(0)
    slow = rng.normal(size=400)
    gaps = np.repeat(np.exp(slow), 50)
    together = distribution(gaps, groups=np.repeat(np.arange(400.0), 50)).interval["p50"]
    apart = distribution(rng.permutation(gaps)).interval["p50"]
    assert together[1] - together[0] > 3 * (apart[1] - apart[0])


def record(i, due, ttft):
    first = due + ttft
    return RequestRecord(
        index=i,
        due_s=due,
        input_tokens=1,
        max_output_tokens=2,
        sent_s=due,
        chunk_s=(first, first + 0.1),
        end_s=first + 0.1,
    )


def test_a_slow_start_is_cut_and_a_level_load_is_not():
    rng = np.random.default_rng(0)
    times = np.arange(400) * 0.05
    level = [record(i, t, 0.05 * rng.lognormal(0, 0.1)) for i, t in enumerate(times)]
    cold = [record(i, t, 0.05 * rng.lognormal(0, 0.1) + (1.0 - t / 4 if t < 4 else 0)) for i, t in enumerate(times)]
    assert steady_state(level).n_cut <= 20
    assert 60 <= steady_state(cold).n_cut <= 120
    assert steady_state(cold).end_s == times[-1]
