"""The simulated engine against one that takes every step, against queueing theory, and what must always hold."""

import random
from collections import deque
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.traffic import Arrival, Lengths, draw_arrivals
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.linear_layers import one_precision
from workbench.estimate.step_time import decode_step_s, reading_s
from workbench.simulate.closed_loop import closed_loop
from workbench.simulate.costs import step_cost
from workbench.simulate.engine import Engine, EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.step_cost import Front, LinearCost

COST = LinearCost(fixed_s=5e-3, sequence_s=2e-5, prompt_token_s=3e-5, cached_token_s=4e-8)
LIMITS = EngineLimits(token_budget=512, max_sequences=8, cache_tokens=100_000)
LENGTHS = Lengths(input_tokens=1000, output_tokens=100)
AT_ONCE = replace(LIMITS, settles_ahead=False)


def plain(arrivals, cost, limits):
    """Every step by itself, no preemption: (first token, end) of each arrival."""
    order = sorted(range(len(arrivals)), key=lambda i: arrivals[i].at_s)
    coming, now, settled, waiting, running, found = 0, 0.0, 0.0, deque(), {}, {}
    read = {}
    while coming < len(order) or waiting or running:
        if not waiting and not running:
            now = settled = max(now, arrivals[order[coming]].at_s)
        while coming < len(order) and arrivals[order[coming]].at_s <= settled:
            waiting.append(order[coming])
            read[order[coming]] = 0
            coming += 1
        budget, done, tokens = limits.token_budget - len(running), [], 0
        while waiting and budget > 0 and len(running) + len(done) < limits.max_sequences:
            i = waiting[0]
            chunk = min(budget, arrivals[i].input_tokens - read[i])
            read[i] += chunk
            budget -= chunk
            tokens += chunk
            if read[i] < arrivals[i].input_tokens:
                break
            done.append(waiting.popleft())
        in_cache = sum(arrivals[i].input_tokens + made - 1 for i, made in running.items())
        in_cache += sum(read[i] for i in waiting) + sum(read[i] for i in done) - tokens
        n = len(running) + len(done)
        began = now
        now += cost.fixed_s + cost.sequence_s * n + cost.prompt_token_s * tokens + cost.cached_token_s * in_cache
        settled = began if limits.settles_ahead else now
        for i in list(running):
            running[i] += 1
        for i in done:
            running[i] = 1
            found[i] = [now, None]
        for i in [i for i, made in running.items() if made == arrivals[i].output_tokens]:
            found[i][1] = now
            del running[i]
    return [tuple(found[i]) for i in range(len(arrivals))]


requests = st.lists(
    st.builds(
        Arrival,
        at_s=st.floats(0, 3),
        input_tokens=st.integers(1, 1500),
        output_tokens=st.integers(1, 60),
    ),
    min_size=1,
    max_size=25,
)


@given(requests, st.sampled_from([LIMITS, AT_ONCE]))
@settings(max_examples=100, deadline=None)
def test_taking_steps_together_changes_nothing(arrivals, limits):
    answers = Engine(COST, limits).run(arrivals)
    for a, answer, (first, end) in zip(arrivals, answers, plain(arrivals, COST, limits), strict=True):
        assert answer.ttft_s == pytest.approx(first - a.at_s, abs=1e-9)
        assert answer.e2e_s == pytest.approx(end - a.at_s, abs=1e-9)


@given(requests, st.integers(1600, 4000))
@settings(max_examples=60, deadline=None)
def test_a_small_cache_is_never_overfilled_and_everyone_is_answered(arrivals, cache):
    engine = Engine(COST, replace(LIMITS, cache_tokens=cache))
    answers = engine.run(arrivals)
    assert len(answers) == len(arrivals)
    assert engine.peak_cached_tokens <= cache
    assert all(0 < a.ttft_s <= a.e2e_s for a in answers)
    assert engine._cached == engine._running == 0


def test_one_request_alone_takes_what_its_steps_take():
    (answer,) = Engine(COST, LIMITS).run([Arrival(2.0, 100, 3)])
    first = COST.fixed_s + COST.sequence_s + 100 * COST.prompt_token_s
    assert answer.ttft_s == pytest.approx(first)
    later = [COST.fixed_s + COST.sequence_s + COST.cached_token_s * n for n in (100, 101)]
    assert answer.e2e_s == pytest.approx(first + sum(later))
    assert answer.tpot_s == pytest.approx(sum(later) / 2)
    assert Engine(COST, LIMITS).run([Arrival(0, 10, 1)])[0].tpot_s is None


def test_one_at_a_time_waits_as_queueing_theory_says():
    """M/D/1: mean wait = rho s / (2 (1 - rho)) (Pollaczek and Khinchine)."""
    service, rho, rng = 0.010, 0.7, random.Random(3)
    cost = LinearCost(fixed_s=service, sequence_s=0.0, prompt_token_s=0.0, cached_token_s=0.0)
    at, arrivals = 0.0, []
    for _ in range(60_000):
        at += rng.expovariate(rho / service)
        arrivals.append(Arrival(at, 1, 1))
    answers = Engine(cost, EngineLimits(token_budget=2, max_sequences=1, cache_tokens=10, settles_ahead=False)).run(
        arrivals
    )
    wait = sum(a.ttft_s for a in answers) / len(answers) - service
    assert wait == pytest.approx(rho * service / (2 * (1 - rho)), rel=0.05)


def test_who_comes_during_a_step_is_seen_in_the_step_after_the_next():
    cost = LinearCost(fixed_s=1.0, sequence_s=0.0, prompt_token_s=0.0, cached_token_s=0.0)
    limits = EngineLimits(token_budget=64, max_sequences=8, cache_tokens=1000)
    arrivals = [Arrival(0.0, 10, 9), Arrival(2.5, 10, 2)]
    ahead = Engine(cost, limits).run(arrivals)[1]
    at_once = Engine(cost, replace(limits, settles_ahead=False)).run(arrivals)[1]
    assert ahead.ttft_s == pytest.approx(2.5)  # steps end at 3, 4 and 5; it is in the last of these
    assert at_once.ttft_s == pytest.approx(1.5)


def test_more_load_never_shortens_waits_and_two_replicas_halve_the_load():
    rng = random.Random(1)

    def waits(rate, n):
        at, arrivals = 0.0, []
        for _ in range(400):
            at += rng.expovariate(rate)
            arrivals.append(Arrival(at, 300, 40))
        answers = replicas(n, arrivals, COST, LIMITS).answers
        return sum(a.e2e_s for a in answers) / len(answers)

    assert waits(5, 1) < waits(40, 1)
    assert waits(40, 2) < waits(40, 1)


def test_what_cannot_be_simulated_is_told():
    with pytest.raises(DoesNotFit, match="longer than the cache: 50"):
        Engine(COST, EngineLimits(cache_tokens=50)).run([Arrival(0, 60, 1)])
    with pytest.raises(InvalidSpec, match="has no tokens"):
        Engine(COST, LIMITS).run([Arrival(0, 0, 1)])
    with pytest.raises(InvalidSpec, match="leaves no room for prompts"):
        EngineLimits(token_budget=8, max_sequences=8)
    with pytest.raises(InvalidSpec, match="below zero"):
        replace(COST, sequence_s=-1.0)
    with pytest.raises(InvalidSpec, match="0 replicas"):
        replicas(0, [], COST, LIMITS)


def test_costs_of_a_real_device_are_the_estimators_steps():
    machine, _ = machine_of("h200-sxm")
    model = catalog_models()["meta-llama/Meta-Llama-3.1-8B"]
    cost, plan = step_cost(model, "bf16", machine), one_precision(model, "bf16")
    for batch, context in ((1, 1024), (8, 1024), (64, 2048)):
        at = {"batch": np.array([float(batch)]), "context": np.array([float(context)])}
        expected = float(decode_step_s(model, plan, machine, **at, kv_bits=16)[0])
        assert cost.decode_s(batch, batch * context) == pytest.approx(expected, rel=0.01)
    for n, context in ((1, 1024), (8, 1024), (1, 8192)):
        at = {"batch": np.array([float(n)]), "context": np.array([float(context)])}
        expected = float(reading_s(model, plan, machine, **at)[0])
        mixed = cost.mixed_s(n, n * context, n * context**2 / 2, 0) - cost.mixed_step_s
        assert mixed == pytest.approx(expected, rel=0.03)


def test_prompts_beside_decoding_sequences_stream_the_weights_once():
    machine, _ = machine_of("h100-sxm")
    cost = step_cost(catalog_models()["mistralai/Mistral-Small-24B-Instruct-2501"], "bf16", machine)
    alone, decoding = cost.mixed_s(1, 1024, 0.0, 0), cost.decode_s(30, 0)
    assert max(alone, decoding) < cost.mixed_s(31, 1024, 0.0, 0) < alone + 0.5 * decoding


def test_a_closed_loop_is_littles_law_and_never_more_than_its_users():
    lengths = [(400, 30)] * 600
    done = closed_loop(12, lengths, COST, replace(LIMITS, max_sequences=64), think_s=0.05)
    assert len(done.answers) == len(done.arrivals) == 600
    ends = [a.at_s + b.e2e_s for a, b in zip(done.arrivals, done.answers, strict=True)]
    changes = sorted([(a.at_s, 1) for a in done.arrivals] + [(e, -1) for e in ends])
    assert max(accumulate(step for _, step in changes)) <= 12
    # users = rate x (time of an answer + time to think), by Little 1961
    in_system = sum(b.e2e_s + 0.05 for b in done.answers) / max(ends)
    assert in_system == pytest.approx(12, rel=0.05)
    with pytest.raises(InvalidSpec, match="0 users"):
        closed_loop(0, lengths, COST, LIMITS)


def test_the_front_end_takes_requests_one_after_the_other():
    limits = replace(LIMITS, front=Front(base_s=0.5, request_s=0.25), settles_ahead=False)
    first, second = Engine(COST, limits).run([Arrival(0.0, 10, 1), Arrival(0.0, 10, 1)])
    plain = Engine(COST, replace(LIMITS, settles_ahead=False)).run([Arrival(0.0, 10, 1)])[0]
    assert first.ttft_s == pytest.approx(0.5 + plain.ttft_s)
    assert second.ttft_s == pytest.approx(0.75 + plain.ttft_s)


def test_drawn_traffic_has_its_rate_and_medians():
    made = draw_arrivals(20_000, rate_per_s=10, lengths=LENGTHS, seed=0)
    assert made == draw_arrivals(20_000, rate_per_s=10, lengths=LENGTHS, seed=0)
    assert len(made) / made[-1].at_s == pytest.approx(10, rel=0.03)
    assert sorted(a.input_tokens for a in made)[10_000] == pytest.approx(1000, rel=0.05)
    with pytest.raises(InvalidSpec, match="0 requests"):
        draw_arrivals(0, rate_per_s=1, lengths=LENGTHS, seed=0)
