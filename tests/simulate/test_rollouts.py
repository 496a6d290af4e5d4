"""Rollback rules at known failure rates: the sequential test errs as rarely as it states, the others as often as they are known for."""

import pytest

from workbench.core.errors import InvalidSpec
from workbench.simulate.rollouts import JUDGES, odds

SEQUENTIAL, FAQ, FLAGGER = JUDGES


def of(judge, old, new, **more):
    return odds(judge, old_rate=old, new_rate=new, per_interval=1000, n=more.pop("n", 60), **more)


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_a_version_that_is_no_worse_is_hardly_ever_rolled_back(rate):
    assert of(SEQUENTIAL, rate, rate, alpha=0.05).rolled_back <= 0.05


def test_three_times_the_failures_are_caught():
    assert of(SEQUENTIAL, 0.01, 0.03).rolled_back >= 0.98


def test_fixed_thresholds_blame_the_new_version_for_the_old_ones_failures():
    """facts: at 5 % and 5 % the FAQ's rule rolled back 91 % and Flagger's way 100 %."""
    assert of(FAQ, 0.05, 0.05).rolled_back > 0.8
    assert of(FLAGGER, 0.05, 0.05).rolled_back > 0.95


def test_a_fixed_threshold_lets_three_times_the_failures_pass():
    assert of(FAQ, 0.01, 0.03).rolled_back < 0.3


def test_the_same_seed_gives_the_same():
    assert of(SEQUENTIAL, 0.01, 0.02, n=20, seed=4) == of(SEQUENTIAL, 0.01, 0.02, n=20, seed=4)


def test_odd_wishes_are_refused():
    with pytest.raises(InvalidSpec):
        of("magic", 0.1, 0.1)
    with pytest.raises(InvalidSpec):
        of(SEQUENTIAL, 0.1, 1.1)
