"""Queues in front of a simulated engine: the engine does what was measured, and who is let in meets the SLO."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.traffic import Lengths, draw_arrivals
from workbench.simulate.admission import FullEngine, let_in, longest_queue
from workbench.simulate.closed_loop import closed_loop
from workbench.simulate.summary import summary

FULL = FullEngine(
    requests_per_s=10.0,
    prompt_tokens_per_s=4000.0,
    ttft_alone_s=0.05,
    tpot_alone_s=0.01,
    input_tokens=128,
    output_tokens=24,
    max_sequences=8,
)


def test_the_simulated_engine_does_what_was_measured():
    lengths = [(FULL.input_tokens, FULL.output_tokens)] * 400
    for users, expected in ((2 * FULL.max_sequences, FULL.requests_per_s), (1, 1 / (0.05 + 23 * 0.01))):
        done = closed_loop(users, lengths, FULL.cost, FULL.limits)
        assert summary(done.answers, done.arrivals, ttft_s=1, tpot_s=1).requests_per_s == pytest.approx(
            expected, rel=0.05
        )
    alone = closed_loop(1, lengths[:1], FULL.cost, FULL.limits).answers[0]
    assert (alone.ttft_s, alone.tpot_s) == pytest.approx((FULL.ttft_alone_s, FULL.tpot_alone_s))


@settings(max_examples=25, deadline=None)
@given(slo=st.floats(0.05, 3.0), overload=st.floats(1.0, 5.0), rate=st.floats(1.0, 50.0), n=st.integers(1, 32))
def test_whoever_is_let_in_meets_the_slo_or_nobody_waits(slo, overload, rate, n):
    full = replace(FULL, requests_per_s=rate, max_sequences=n)
    found = longest_queue(full, ttft_s=slo, overload=overload)
    assert 0 <= found.wait_s <= slo
    if found.ttft_p99_s > slo:
        assert (found.waiting, found.wait_s) == (0, 0)


def test_a_longer_slo_lets_more_wait():
    queues = [longest_queue(FULL, ttft_s=slo, overload=3.0).waiting for slo in (0.2, 0.5, 1.0, 2.0, 4.0)]
    assert queues == sorted(queues)
    assert queues[-1] > queues[0]


def test_requests_that_find_the_queue_full_are_refused():
    arrivals = draw_arrivals(200, rate_per_s=30.0, lengths=Lengths(input_tokens=128, output_tokens=24), seed=1)
    few, many = (
        len(let_in(arrivals, FULL.cost, replace(FULL.limits, cache_tokens=10_000), waiting=w)) for w in (0, 20)
    )
    assert few < many < len(arrivals)
    assert len(let_in(arrivals, FULL.cost, replace(FULL.limits, cache_tokens=10_000), waiting=200)) == len(arrivals)
