"""Thresholds with a guarantee keep it on new data, and limits are Clopper and Pearson's."""

import numpy as np
import pytest

from workbench.estimate.cascade import guaranteed_threshold, most_likely_share, softmax_confidence


def test_a_worked_example():
    # Rule of three: nothing in n trials leaves at most about 3/n at 95 % (Hanley and Lippman-Hand 1983); exactly 1 - 0.05^(1/n).
    assert most_likely_share(0, 300, level=0.95) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert most_likely_share(0, 300, level=0.95) == pytest.approx(3 / 300, rel=0.02)
    assert most_likely_share(10, 10, level=0.95) == 1.0


def drawn(rng, n):
    """Confidences, and losses that become rarer with confidence; above c, 0.2 (1 - c)^3 / 3 of all are lost."""
    confidence = rng.random(n)
    return confidence, rng.random(n) < 0.2 * (1 - confidence) ** 2


def test_the_guarantee_holds_on_new_data():
    broken = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        found = guaranteed_threshold(*drawn(rng, 300), most_lost=0.03)
        broken += 0.2 * (1 - min(1.0, found.confidence)) ** 3 / 3 > 0.03
    assert broken / 80 <= 0.05 + 0.03  # the level; three standard errors of 80 draws would be 0.073


def test_a_looser_limit_lets_more_exit():
    rng = np.random.default_rng(1)
    confidence, lost = drawn(rng, 500)
    shares = [guaranteed_threshold(confidence, lost, most_lost=x).exit_fraction for x in (0.01, 0.03, 0.1)]
    assert shares == sorted(shares)
    assert shares[-1] > shares[0]


def test_nothing_exits_where_nothing_can_be_guaranteed():
    found = guaranteed_threshold(np.full(20, 0.9), np.zeros(20, bool), most_lost=0.01)
    assert found.exit_fraction == 0
    assert found.confidence > 1


def test_confidence_is_the_largest_probability():
    logits = np.array([[0.0, np.log(3.0)], [1000.0, 0.0]], np.float32)
    assert softmax_confidence(logits) == pytest.approx([0.75, 1.0])
