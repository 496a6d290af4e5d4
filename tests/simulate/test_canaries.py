"""Simulated rollouts with the gateway's own code and fixed seeds: how many are rolled back; ``benchmarks/rollouts.py`` plays a thousand of each."""

import pytest

from workbench.core.errors import InvalidSpec
from workbench.release.journal import Phase
from workbench.release.rule import CanaryRule
from workbench.simulate.canaries import Traffic, play, share_of


def played(traffic, n, **rule):
    return [play(traffic, CanaryRule(**rule), seed=seed) for seed in range(n)]


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(n_users=3),
        Traffic(n_users=1, has_user=False),
        Traffic(uneven=0.05),
        Traffic(burst=3),
        Traffic(burst=10),
        Traffic(burst=3, servers=4),
    ],
)
def test_a_healthy_version_takes_over(traffic):
    assert share_of(played(traffic, 4), Phase.PROMOTED) == 1


@pytest.mark.parametrize(
    ("traffic", "assignment"),
    [
        (Traffic(n_users=3, failures=(0.01, 0.03)), "request"),
        (Traffic(failures=(0.01, 0.03), burst=3), "request"),
        (Traffic(failures=(0.01, 0.03)), "user"),
        (Traffic(slower=1.3), "request"),
    ],
)
def test_a_worse_version_goes_back_before_the_last_step(traffic, assignment):
    rollouts = played(traffic, 12, assignment=assignment)
    assert share_of(rollouts, Phase.ROLLED_BACK) == 1
    assert all(p.step < 3 for p in rollouts)


@pytest.mark.parametrize("traffic", [Traffic(failures=(0.01, 1.0)), Traffic(failures=(0.2, 1.0))])
def test_a_dead_version_goes_back_within_twenty_of_its_requests(traffic):
    rollouts = played(traffic, 20)
    assert share_of(rollouts, Phase.ROLLED_BACK) == 1
    assert max(p.n_new for p in rollouts) <= 20


def test_users_that_always_fail_are_no_difference_where_users_are_assigned():
    assert share_of(played(Traffic(uneven=0.05), 3, assignment="user"), Phase.PROMOTED) == 1


def test_failures_in_bursts_take_more_requests():
    one_by_one, in_bursts = (played(Traffic(burst=burst), 1)[0] for burst in (1, 3))
    assert 2 * one_by_one.n_new < in_bursts.n_new < 4 * one_by_one.n_new


def test_a_version_that_takes_over_with_less_power_than_was_asked_for_says_so():
    few, enough = (played(Traffic(), 1, least_requests=n)[0].reason for n in (200, None))
    assert few.startswith("no measure is worse (power ")
    assert enough == "no measure is worse"


def test_the_last_step_waits_for_the_power_where_users_are_assigned():
    """With the requests of fewer and fewer users counting, this rollout once took over after the planned number, as if nothing were worse."""
    end = play(Traffic(failures=(0.01, 0.03)), CanaryRule(assignment="user"), seed=27)
    assert (end.phase, end.step < 3) == (Phase.ROLLED_BACK, True)


def test_the_number_of_requests_follows_from_the_power():
    few, many = (CanaryRule(power=power).requests_per_step for power in (0.9, 0.99))
    assert few < CanaryRule().requests_per_step < many
    for power in (0.8, 0.98):
        rule = CanaryRule(power=power)
        assert rule.power_at_requests >= power
        assert CanaryRule(least_requests=rule.requests_per_step - 1).power_at_requests < power
    assert CanaryRule(least_requests=200).power_at_requests < 0.5
    assert CanaryRule(caught_failures=0.02).requests_per_step > 2 * CanaryRule().requests_per_step
    with pytest.raises(InvalidSpec, match="No number of requests"):
        _ = CanaryRule(usual_failures=0.01, caught_failures=0.0101).requests_per_step
