"""What the verdicts on rollouts claim, counted again from the same rows by code of its own."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import MEASURED
from workbench.questions.rollout.findings import verdict
from workbench.questions.rollout.odds.findings import RuleOdds
from workbench.questions.rollout.odds.findings import verdict as odds_verdict
from workbench.questions.rollout.odds.spec import OddsSpec
from workbench.questions.rollout.rows import RolloutResult
from workbench.questions.rollout.spec import HEALTHY, SCENARIOS
from workbench.release.journal import Phase
from workbench.simulate.rollouts import JUDGES, STEPS, Odds, odds
from workbench.store.runs import read_run_file

RUN = read_run_file(MEASURED / "rollout_stdlib-9m_epyc-2-cores.json")
N = len(RUN.rows(RolloutResult))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 90), st.integers(1, 900)), min_size=N, max_size=N)
)
def test_every_claim_of_the_verdict_follows_from_the_rows(drawn):
    rows = []
    for row, (is_right, is_verified, seconds, n_new) in zip(RUN.rows(RolloutResult), drawn, strict=True):
        is_back = is_right != (row.scenario in HEALTHY)
        phase = Phase.ROLLED_BACK if is_back else Phase.PROMOTED
        rows.append(
            replace(
                row, phase=phase, is_right=is_right, is_verified=is_verified, duration_s=float(seconds), n_new=n_new
            )
        )
    answer = verdict(replace(RUN, results=rows))
    right = [r for r in rows if (r.phase is Phase.PROMOTED) == (r.scenario in HEALTHY)]
    assert answer.headline.startswith(f"{len(right)} of {len(rows)} rollouts ended as they should")
    assert (answer.answer == "yes") == (len(right) == len(rows) and all(r.is_verified for r in rows))
    back = [r for r in rows if r.scenario not in HEALTHY and r.phase is Phase.ROLLED_BACK]
    said = re.search(r"within (\d+) s, after at most ([\d,]+) of", answer.evidence)
    assert bool(said) == bool(back)
    if said:
        assert int(said[1]) == max(r.duration_s for r in back)
        assert int(said[2].replace(",", "")) == max(r.n_new for r in back)
    assert all(SCENARIOS[r.scenario] in answer.objection for r in rows if r not in right or not r.is_verified)


SHARE = st.integers(0, 100).map(lambda n: n / 100)
ODDS = st.builds(Odds, rolled_back=SHARE, bad_answers=st.integers(0, 500).map(float))


@given(st.tuples(ODDS, ODDS, ODDS, ODDS), st.sampled_from((0.01, 0.03)))
def test_every_claim_of_the_verdict_on_rules_follows_from_what_was_played(drawn, new_rate):
    ours, theirs = RuleOdds(healthy=drawn[0], chosen=drawn[1]), RuleOdds(healthy=drawn[2], chosen=drawn[3])
    answer = odds_verdict({JUDGES[0]: ours, JUDGES[1]: theirs}, OddsSpec(old_rate=0.01, new_rate=new_rate))
    assert f"healthy version in {100 * drawn[0].rolled_back:.1f} %" in answer.headline
    assert f"in {100 * drawn[1].rolled_back:.0f} %." in answer.headline
    assert f"fails {drawn[1].bad_answers:,.0f} requests" in answer.evidence
    assert f"fails {drawn[3].bad_answers:,.0f} of the same traffic" in answer.evidence
    against = (answer.objection or "").lower()
    assert ("healthy versions less often" in against) == (drawn[0].rolled_back > drawn[2].rolled_back)
    is_worse = new_rate > 0.01
    assert ("degraded version back more often" in against) == (is_worse and drawn[1].rolled_back < drawn[3].rolled_back)
    assert ("fewer requests fail" in against) == (is_worse and drawn[1].bad_answers > drawn[3].bad_answers)


def test_all_rules_see_the_same_traffic():
    """A version that never fails too often is rolled back by none, and fails as often under each rule."""
    expected = 0.02 * 1000 * 5 * sum(STEPS)
    for judge in JUDGES[1:2]:
        played = odds(judge, old_rate=0.02, new_rate=0.02, per_interval=1000, n=60)
        assert played.rolled_back == 0
        assert abs(played.bad_answers / expected - 1) < 0.05


def test_odds_do_not_depend_on_the_version_of_python():
    assert odds(JUDGES[1], old_rate=0.01, new_rate=0.06, per_interval=100, n=50) == odds(
        JUDGES[1], old_rate=0.01, new_rate=0.06, per_interval=100, n=50
    )
