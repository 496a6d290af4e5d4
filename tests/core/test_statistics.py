import numpy as np
import pytest

from workbench.core.statistics import (
    block_bootstrap,
    block_length,
    mcnemar_p,
    minimum_detectable,
)


def test_the_interval_of_a_constant_is_a_point():
    values = np.full(20, 3.0)
    interval = block_bootstrap(20, lambda i: float(values[i].mean()), seed=0)
    assert (interval.low, interval.value, interval.high) == (3.0, 3.0, 3.0)


def test_the_interval_of_a_mean_has_about_the_classical_width():
    rng, widths = np.random.default_rng(1), []
    for _ in range(20):
        values = rng.normal(size=400)
        widths.append(block_bootstrap(400, lambda i, v=values: float(v[i].mean()), seed=0, resamples=400).half_width)
    assert np.mean(widths) == pytest.approx(1.96 / 20, rel=0.1)


def test_pairing_removes_what_both_sides_share():
    rng = np.random.default_rng(2)
    hard = rng.normal(5, 1, 64)
    reference, variant = hard, hard + 0.01 + rng.normal(0, 0.001, 64)
    paired = block_bootstrap(64, lambda i: float((variant - reference)[i].mean()), seed=0)
    unpaired = block_bootstrap(64, lambda i: float(variant[i].mean()), seed=0)
    assert paired.excludes_zero
    assert unpaired.half_width > 100 * paired.half_width


def test_dependent_windows_widen_the_interval():
    rng = np.random.default_rng(3)
    runs = np.repeat(rng.normal(size=125), 4)[:500]  # neighbours are equal
    blocks = block_bootstrap(500, lambda i: float(runs[i].mean()), seed=0).half_width
    alone = 1.96 * runs.std() / np.sqrt(500)
    assert block_length(500) == 8
    assert blocks > 1.5 * alone


def test_mcnemar_is_the_two_sided_binomial_test_on_discordant_pairs():
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(5, 15) == pytest.approx(0.0414, abs=1e-4)  # 2 * P(X <= 5), X ~ B(20, 1/2)
    assert mcnemar_p(15, 5) == mcnemar_p(5, 15)


def test_the_minimum_detectable_difference_at_80_percent_power_is_2_8_standard_errors():
    assert minimum_detectable(1.0) == pytest.approx(2.80, abs=0.01)
