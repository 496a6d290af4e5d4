"""The change point: its false-alarm rate as stated, its delay, and where it says the shift began."""

import numpy as np
import pytest

from workbench.core.errors import InvalidSpec
from workbench.estimate.change_point import first_change, threshold_for

SIGMA = 0.25  # of log latency, as in the comparison of detectors that this follows


def stream(rng, n, factor=1.0):
    return factor * np.exp(rng.normal(0, SIGMA, n))


@pytest.mark.parametrize(("n_baseline", "rate"), [(100, 0.05), (40, 0.05), (400, 0.02)])
def test_streams_without_a_change_alarm_as_often_as_stated(n_baseline, rate):
    rng = np.random.default_rng(7)
    alarms = sum(
        first_change(stream(rng, n_baseline), stream(rng, 512), false_alarm_rate=rate) is not None for _ in range(200)
    )
    # 200 streams: the share is within 2.5 standard errors of the stated one, or below.
    assert alarms / 200 <= rate + 2.5 * np.sqrt(rate * (1 - rate) / 200)
    assert alarms > 0


def test_larger_shifts_are_found_sooner_and_where_they_began():
    rng = np.random.default_rng(3)
    delays = {}
    for factor in (1.2, 1.5, 3.0):
        found = [
            first_change(stream(rng, 100), np.concatenate([stream(rng, 100), stream(rng, 400, factor)]))
            for _ in range(60)
        ]
        hit = [c for c in found if c is not None and c.at >= 100]
        assert len(hit) >= 0.9 * len(found)
        delays[factor] = float(np.median([c.at - 100 for c in hit]))
        assert abs(np.median([c.since - 100 for c in hit])) <= 20
        if factor > 1.2:
            assert np.median([c.factor for c in hit]) == pytest.approx(factor, rel=0.15)
    assert delays[3.0] < delays[1.5] < delays[1.2] <= 80


def test_fewer_values_before_and_lower_rates_need_a_higher_threshold():
    assert threshold_for(40, 512, 0.01) > threshold_for(400, 512, 0.01)
    assert threshold_for(100, 512, 0.01) > threshold_for(100, 512, 0.05)
    assert threshold_for(100, 1024, 0.01) > threshold_for(100, 128, 0.01)


def test_what_cannot_be_watched_is_refused():
    fine = list(stream(np.random.default_rng(0), 50))
    with pytest.raises(InvalidSpec, match="A baseline of 5"):
        first_change(fine[:5], fine)
    with pytest.raises(InvalidSpec, match="not above zero"):
        first_change(fine, [0.0])
    with pytest.raises(InvalidSpec, match="the same"):
        first_change([1.0] * 50, fine)
    with pytest.raises(InvalidSpec, match="false-alarm rate"):
        first_change(fine, fine, false_alarm_rate=0.0)
    assert first_change(fine, []) is None
