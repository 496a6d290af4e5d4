"""Several simulated engines behind a router, and what is told of their queues."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import InvalidSpec
from workbench.core.traffic import Arrival, Lengths, draw_arrivals
from workbench.simulate.engine import Engine, EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.step_cost import LinearCost
from workbench.simulate.summary import OverTime, occupancy, over_time

COST = LinearCost(fixed_s=5e-3, sequence_s=2e-5, prompt_token_s=3e-5, cached_token_s=4e-8)
LIMITS = EngineLimits(token_budget=512, max_sequences=8, cache_tokens=20_000)
TRAFFIC = draw_arrivals(400, rate_per_s=30, lengths=Lengths(input_tokens=300, output_tokens=40), seed=5, gap_cv=2.5)

requests = st.lists(
    st.builds(Arrival, at_s=st.floats(0, 3), input_tokens=st.integers(1, 1500), output_tokens=st.integers(1, 60)),
    min_size=1,
    max_size=25,
)


@given(requests, st.lists(st.floats(0, 4), max_size=8))
@settings(max_examples=60, deadline=None)
def test_pausing_an_engine_changes_nothing(arrivals, pauses):
    """Requests that are handed over when they come, with looks in between, are answered as if all were known before."""
    arrivals = sorted(arrivals, key=lambda a: a.at_s)
    engine = Engine(COST, LIMITS)
    events = sorted([(a.at_s, i) for i, a in enumerate(arrivals)] + [(t, -1) for t in pauses])
    for at, i in events:
        engine.advance(at)
        if i >= 0:
            engine.add(i, arrivals[i])
    engine.advance()
    for i, answer in enumerate(Engine(COST, LIMITS).run(arrivals)):
        assert engine.answers[i].e2e_s == pytest.approx(answer.e2e_s, abs=1e-9)
        assert engine.answers[i].ttft_s == pytest.approx(answer.ttft_s, abs=1e-9)
    assert engine.outstanding_tokens == 0


def test_the_least_loaded_replica_is_spared_what_taking_turns_heaps_on_one():
    """Every third request is long, so that taking turns sends all long ones to the same of three."""
    traffic = [Arrival(0.05 * i, 1200 if i % 3 == 0 else 30, 200 if i % 3 == 0 else 5) for i in range(300)]
    mean = {}
    for routing in ("round robin", "least loaded"):
        done = replicas(3, traffic, COST, LIMITS, routing=routing)
        mean[routing] = np.mean([a.e2e_s for a in done.answers])
    assert mean["least loaded"] < 0.8 * mean["round robin"]
    alone = replicas(1, TRAFFIC, COST, LIMITS, routing="least loaded").answers
    assert alone == Engine(COST, LIMITS).run(TRAFFIC)
    with pytest.raises(InvalidSpec, match="Choose from: round robin, least loaded"):
        replicas(2, TRAFFIC, COST, LIMITS, routing="by magic")


def test_what_the_prefix_cache_has_is_not_read_but_held():
    one = [Arrival(0.0, 1000, 2)]
    whole = Engine(COST, LIMITS)
    (plain,) = whole.run(one)
    engine = Engine(COST, replace(LIMITS, cached_fraction=0.6))
    (hit,) = engine.run(one)
    # 400 tokens instead of 1000 are one step instead of two; all 1000 are in the cache at the end.
    assert hit.ttft_s == pytest.approx(COST.fixed_s + COST.sequence_s + 400 * COST.prompt_token_s)
    assert hit.ttft_s < plain.ttft_s
    assert engine.peak_cached_tokens == whole.peak_cached_tokens
    with pytest.raises(InvalidSpec, match="share below 1"):
        replace(LIMITS, cached_fraction=1.0)


def test_queues_and_caches_are_weighted_by_time():
    done = replicas(2, TRAFFIC, COST, LIMITS)
    occupied = occupancy(done, LIMITS)
    assert 0 < occupied.busy_fraction <= 1
    assert 0 < occupied.cache_mean_fraction < occupied.cache_max_fraction <= 1
    assert 0 <= occupied.waiting_mean < occupied.waiting_max
    # Little's law: mean number in the engines = rate x mean time in them.
    engine = Engine(COST, LIMITS)
    answers = engine.run(TRAFFIC)
    at = np.array([m[0] for m in engine.moments])
    inside = np.array([m[1] + m[2] for m in engine.moments])
    mean = float(np.diff(at) @ inside[:-1]) / (at[-1] - at[0])
    rate = len(TRAFFIC) / (at[-1] - at[0])
    assert mean == pytest.approx(rate * np.mean([a.e2e_s for a in answers]), rel=0.1)


def test_parts_of_time_keep_the_highest_queue():
    engine = Engine(COST, LIMITS)
    engine.run(TRAFFIC)
    parts = over_time(engine.moments, n_parts=40)
    assert len(parts.at_s) <= 40
    assert max(parts.waiting) == max(m[1] for m in engine.moments)
    assert max(parts.cached_tokens) == max(m[3] for m in engine.moments)
    assert over_time([], n_parts=4) == OverTime()


def test_gaps_have_the_burstiness_that_was_asked_for():
    for cv in (0.5, 1.0, 3.0):
        made = draw_arrivals(
            20_000, rate_per_s=10, lengths=Lengths(input_tokens=10, output_tokens=10), seed=1, gap_cv=cv
        )
        gaps = np.diff([a.at_s for a in made])
        assert np.mean(gaps) == pytest.approx(0.1, rel=0.06)
        assert np.std(gaps) / np.mean(gaps) == pytest.approx(cv, rel=0.06)
