"""Canaries that are no worse pass, worse ones go back soon, and a kill at any moment loses nothing."""

import json
import random

import pytest

from workbench.core.errors import InvalidSpec, StoreError
from workbench.release.canary import Rollout, verified_shares
from workbench.release.journal import Journal, Phase
from workbench.release.judge import Comparison
from workbench.release.rule import CanaryRule
from workbench.release.sequential import MoreThanAllowed, WorseThanBaseline

OLD, NEW = "digest-of-old", "digest-of-new"


def rollout(tmp_path, rng, *, old=0.01, new=0.01, late=(0.05, 0.05), disagree=0.0, rule=None, most=20_000):
    """A simulated rollout; requests of users are spread as the shares say."""
    made = Rollout(
        Journal(tmp_path / f"{rng.random()}.jsonl"),
        rule or CanaryRule(least_requests=200, late_ttft_s=1.0),
        versions=(OLD, NEW),
        set_shares=lambda s: None,
    )
    n = bad = 0
    while made.phase is Phase.RUNNING and n < most:
        n += 1
        is_new = rng.random() < made.shares[NEW]
        failed = rng.random() < (new if is_new else old)
        bad += failed and is_new
        ttft = 2.0 if rng.random() < late[is_new] else 0.5
        made.request(NEW if is_new else OLD, failed=failed, ttft_s=None if failed else ttft)
        if n % 20 == 0:
            made.answer(agrees=rng.random() >= disagree)
    return made, n, bad


def share_rolled_back(tmp_path, runs, **rates):
    rng = random.Random(7)
    ends = [rollout(tmp_path, rng, **rates)[0].phase for _ in range(runs)]
    assert Phase.RUNNING not in ends
    return ends.count(Phase.ROLLED_BACK) / runs


@pytest.mark.parametrize("rate", [0.001, 0.05])
def test_a_version_that_is_no_worse_is_promoted(tmp_path, rate):
    """U6: an absolute threshold rolls 91 % of healthy versions back at five percent of errors."""
    assert share_rolled_back(tmp_path, 25, old=rate, new=rate) == 0


def test_three_times_the_failures_go_back(tmp_path):
    rule = CanaryRule(least_requests=900, late_ttft_s=1.0)
    assert share_rolled_back(tmp_path, 20, old=0.01, new=0.03, rule=rule) == 1


def test_a_version_that_only_fails_serves_few(tmp_path):
    _, _, bad = rollout(tmp_path, random.Random(1), old=0.001, new=1.0)
    assert bad <= 20


def test_late_first_tokens_and_other_answers_go_back_too(tmp_path):
    rule = CanaryRule(least_requests=900, late_ttft_s=1.0)
    late, _, _ = rollout(tmp_path, random.Random(2), late=(0.05, 0.2), rule=rule)
    assert (late.phase, "late TTFT" in late.reason) == (Phase.ROLLED_BACK, True)
    other, _, _ = rollout(tmp_path, random.Random(3), disagree=0.3, rule=rule)
    assert (other.phase, "disagreement" in other.reason) == (Phase.ROLLED_BACK, True)


def test_evidence_against_an_equal_version_is_no_more_than_one_on_average():
    rng = random.Random(0)
    ends, tolerated = [], []
    for _ in range(1000):
        test, share = WorseThanBaseline(), MoreThanAllowed(0.1)
        for _ in range(60):
            test.event(is_canary=rng.random() < 0.25, share=0.25)
            share.outcome(is_bad=rng.random() < 0.1)
        ends.append(test.evidence)
        tolerated.append(share.evidence)
    for values in (ends, tolerated):
        assert sum(values) / len(values) < 1.5
        assert sum(v >= 20 for v in values) / len(values) <= 0.05


def test_an_assigned_user_counts_once_a_step_and_never_after_the_new_version():
    compared = Comparison()
    for share, is_canary in ((0.1, False), (0.1, False), (0.25, False), (0.5, True), (0.9, True)):
        compared.outcome(is_canary=is_canary, is_bad=True, share=share, server=f"{is_canary}", user="u")
        for version in (False, True):  # the burst ends
            for _ in range(2):
                compared.outcome(is_canary=version, is_bad=False, share=share, server=f"{version}", user="u")
    assert compared.test.n_events == 3
    assert compared.chance("u", share=0.9) == 0
    assert compared.chance("other", share=0.9) == 0.9


def test_two_bursts_in_a_row_are_no_outage_where_the_old_version_has_such_bursts_too():
    """Bursts of ten fail every hundred thousand requests twice in a row; the old version's burst of thousands of requests ago still says how long one is."""
    compared = Comparison()

    def requests(n, **how):
        for _ in range(n):
            compared.outcome(**{"is_canary": False, "is_bad": False, "share": 0.1, "server": "s", "user": ""} | how)

    requests(10, is_bad=True)
    requests(3000)
    requests(20, is_canary=True, is_bad=True, server="t")
    requests(180)
    assert not compared.is_outage
    requests(11, is_canary=True, is_bad=True, server="t")
    assert compared.is_outage  # a version that never answers


def test_users_that_always_fail_are_no_evidence_over_all_steps():
    """Whoever is on the old version is assigned anew with each step; the evidence is 1 on average if both versions are alike."""
    rng, ends = random.Random(3), []
    for _ in range(4000):
        compared, places = Comparison(), [rng.random() for _ in range(4)]
        for share in (0.1, 0.25, 0.5, 0.9):
            for user, place in enumerate(places):
                if chance := compared.chance(str(user), share=share):
                    compared.test.event(is_canary=place < share, share=chance)
                    compared.counted[str(user)] = 1.0 if place < share else share
        ends.append(compared.test.evidence)
    assert 0.8 < sum(ends) / len(ends) < 1.2
    assert sum(end >= 20 for end in ends) / len(ends) <= 0.05


def drive(made, rng, requests, failures=0.02):
    for _ in range(requests):
        is_new = rng.random() < made.shares[NEW]
        made.request(NEW if is_new else OLD, failed=rng.random() < failures, ttft_s=rng.random())


def test_kills_lose_nothing(tmp_path):
    """Killed between any two requests, also with half a line written: the rollout goes on at its step, and shares are set again."""
    rng = random.Random(5)
    for kill in range(50):
        file = tmp_path / f"{kill}.jsonl"
        rule, told = CanaryRule(least_requests=20), []
        first = Rollout(Journal(file), rule, versions=(OLD, NEW), set_shares=told.append)
        drive(first, rng, rng.randrange(1, 300))
        before = first.state
        if rng.random() < 0.5:
            with file.open("ab") as out:
                out.write(b'{"what": "st')
        again = Rollout(Journal(file), rule, versions=(OLD, NEW), set_shares=told.append)
        assert again.state == before
        assert told[-1] == before.shares
        drive(again, rng, 800)
        assert again.phase is Phase.PROMOTED
        assert told[-1] == {OLD: 0.0, NEW: 1.0}
        assert json.loads(file.read_text().splitlines()[-1])["what"] == "end"


def test_what_is_decided_is_written_before_it_is_done(tmp_path):
    file = tmp_path / "j.jsonl"

    def refuse(shares):
        if shares[NEW] == 0.25:
            raise RuntimeError("killed while the shares are set")

    made = Rollout(Journal(file), CanaryRule(least_requests=5), versions=(OLD, NEW), set_shares=refuse)
    with pytest.raises(RuntimeError):
        drive(made, random.Random(1), 500)
    again = Rollout(Journal(file), CanaryRule(), versions=(OLD, NEW), set_shares=lambda s: None)
    assert again.step == 1
    assert again.rule.least_requests == 5  # the rule of the journal


def test_a_version_that_changes_in_the_middle_is_another_rollout(tmp_path):
    Rollout(Journal(tmp_path / "j"), CanaryRule(), versions=(OLD, NEW), set_shares=lambda s: None)
    with pytest.raises(InvalidSpec, match="another rollout"):
        Rollout(Journal(tmp_path / "j"), CanaryRule(), versions=(OLD, "newer"), set_shares=lambda s: None)
    (tmp_path / "j").write_text("no journal\n")
    with pytest.raises(StoreError, match="not a rollout journal"):
        Journal(tmp_path / "j")


def test_a_rollback_that_did_not_happen_is_none():
    shares = {OLD: 1.0, NEW: 0.0}
    assert verified_shares([OLD] * 50, shares)
    assert not verified_shares([OLD] * 45 + [NEW] * 5, shares)
    assert not verified_shares([], shares)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": ()},
        {"steps": (0.1, 0.5)},
        {"steps": (0.5, 0.1, 1.0)},
        {"alpha": 0},
        {"least_requests": 0},
        {"power": 1.0},
        {"usual_failures": 0.04},
    ],
)
def test_odd_rules_are_refused(change):
    with pytest.raises(InvalidSpec):
        CanaryRule(**change)
