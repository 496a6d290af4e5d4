"""Sessions: every turn goes on from the one before, and lengths and pauses have the distributions of their source."""

from itertools import pairwise

import numpy as np
import pytest

from workbench.core.errors import InvalidSpec
from workbench.simulate.engine import EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.sessions import arrivals_of, draw_sessions, sessions_of_replicas
from workbench.simulate.step_cost import LinearCost

COST = LinearCost(fixed_s=5e-3, sequence_s=2e-5, prompt_token_s=1e-6, cached_token_s=1e-9)
SESSIONS = draw_sessions(300, requests_per_s=4.0, seed=1)


def test_context_grows_and_the_blocks_of_a_prompt_begin_the_next():
    for session in SESSIONS[:40]:
        turns = arrivals_of([session])
        for turn, after in pairwise(turns):
            assert after.input_tokens > turn.input_tokens + turn.output_tokens
            assert after.hash_ids[: len(turn.hash_ids)] == turn.hash_ids
        assert all(len(t.hash_ids) == -(-t.input_tokens // 512) for t in turns)
        assert turns[-1].input_tokens + turns[-1].output_tokens <= 200_000


def test_sessions_share_the_system_prompt_and_those_of_a_group_its_repository():
    beginnings = {tuple(s.hash_ids[:62]) for s in SESSIONS}
    groups = {tuple(s.hash_ids[62:101]) for s in SESSIONS}
    own = [s.hash_ids[101] for s in SESSIONS]
    assert len(beginnings) == 1
    assert 20 < len(groups) <= 50
    assert len(set(own)) == len(SESSIONS)


def test_medians_are_those_of_the_source():
    pauses = np.array([t.pause_s for s in SESSIONS for t in s.turns[1:]])
    answers = np.array([t.output_tokens for s in SESSIONS for t in s.turns])
    new = np.array([b.input_tokens - a.input_tokens - a.output_tokens for s in SESSIONS for a, b in pairwise(s.turns)])
    assert np.median(answers) == pytest.approx(300, rel=0.05)
    assert np.median(new) == pytest.approx(1800, rel=0.07)
    assert np.mean(pauses) == pytest.approx(0.7 * 2.5 + 0.3 * 40, rel=0.1)
    assert np.mean(pauses < 8) == pytest.approx(0.7, abs=0.06)
    n_turns = sum(len(s.turns) for s in SESSIONS)
    assert n_turns / SESSIONS[-1].start_s == pytest.approx(4.0, rel=0.15)


@pytest.mark.parametrize("routing", ["round robin", "least loaded", "cache aware"])
def test_each_turn_waits_for_the_answer_before_it(routing):
    sessions = SESSIONS[:12]
    done, sent = sessions_of_replicas(3, sessions, COST, EngineLimits(cache_tokens=3_000_000), routing=routing)
    assert [a.at_s for a in sent] == sorted(a.at_s for a in sent)
    for session in sessions:
        its = [
            (a, answer)
            for a, answer in zip(sent, done.answers, strict=True)
            if a.hash_ids[101:102] == session.hash_ids[101:102]
        ]
        assert len(its) == len(session.turns)
        for (before, answer), (after, _), turn in zip(its, its[1:], session.turns[1:], strict=False):
            assert after.at_s == pytest.approx(before.at_s + answer.e2e_s + turn.pause_s)


def test_requests_that_are_known_before_are_answered_as_by_a_router_that_waits():
    """The times that came out, sent again as a trace, give the same answers."""
    limits = EngineLimits(cache_tokens=400_000)
    for routing in ("round robin", "least loaded", "cache aware"):
        done, sent = sessions_of_replicas(2, SESSIONS[:8], COST, limits, routing=routing)
        again = replicas(2, sent, COST, limits, routing=routing)
        assert [a.e2e_s for a in again.answers] == pytest.approx([a.e2e_s for a in done.answers])
        assert again.hit_fraction == pytest.approx(done.hit_fraction)


def test_a_short_model_has_no_room_for_sessions():
    with pytest.raises(InvalidSpec, match="at most 8,192 tokens"):
        draw_sessions(3, requests_per_s=1, seed=0, most_tokens=8192)
