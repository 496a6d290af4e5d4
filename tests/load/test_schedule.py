"""Arrivals have the rate, the spread and the order that their names promise."""

import json
import random
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.load_bodies import first_bodies

from workbench.core.errors import InvalidSpec
from workbench.core.traces import read_trace
from workbench.load.schedule import n_left_out, schedule, trace_of
from workbench.load.spec import LoadSpec
from workbench.simulate.engine import EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.step_cost import LinearCost


def planned(**changes):
    return schedule(LoadSpec(url="http://localhost", model="m", **changes))


def due(**changes):
    return np.array(planned(**changes).due_s)


@pytest.mark.parametrize(("arrivals", "cv"), [("constant", 0.0), ("poisson", 1.0), ("gamma", 2.0)])
def test_rate_and_spread_of_the_gaps(arrivals, cv):
    times = due(arrivals=arrivals, rate_per_s=50, duration_s=400)
    gaps = np.diff(times)
    assert times.size / 400 == pytest.approx(50, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, abs=0.06)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["constant", "poisson", "gamma"]), st.floats(0.5, 200), st.floats(1, 20), st.integers(0, 9))
def test_due_times_are_ordered_within_the_duration_and_repeatable(arrivals, rate, duration, seed):
    spec = {"arrivals": arrivals, "rate_per_s": rate, "duration_s": duration, "seed": seed}
    try:
        times = due(**spec)
    except InvalidSpec:
        return  # a slow rate may draw no arrival
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < duration + 1e-9
    assert (times == due(**spec)).all()


def test_a_ramp_goes_from_one_rate_to_the_other():
    times = due(arrivals="ramp", rate_per_s=10, end_rate_per_s=90, duration_s=200)
    counts, _ = np.histogram(times, bins=4, range=(0, 200))
    assert counts / 50 == pytest.approx([20, 40, 60, 80], rel=0.12)


def test_drawn_lengths_keep_their_mean():
    found = planned(rate_per_s=100, duration_s=100, input_tokens=200, input_cv=0.5, output_tokens=50, output_cv=1.0)
    inputs = np.array(found.input_tokens)
    assert inputs.mean() == pytest.approx(200, rel=0.03)
    assert inputs.std() / inputs.mean() == pytest.approx(0.5, rel=0.1)
    assert np.mean(found.output_tokens) == pytest.approx(50, rel=0.06)


def test_traces_are_replayed_from_their_first_request(tmp_path):
    azure = tmp_path / "azure.csv"
    azure.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    )
    found = planned(arrivals="trace", trace=str(azure))
    assert (found.input_tokens, found.output_tokens) == ((374, 396), (44, 109))
    assert found.due_s == pytest.approx((0.0, 4.314579), abs=1e-4)
    cut = {"url": "http://localhost", "model": "m", "arrivals": "trace", "trace": str(azure), "duration_s": 2.0}
    spec = LoadSpec(**cut)
    assert len(schedule(spec).input_tokens) == n_left_out(spec, trace_of(spec)) == 1
    lines = tmp_path / "lines.jsonl"
    lines.write_text(
        "\n".join(json.dumps({"timestamp_s": t, "input_tokens": 5, "output_tokens": 6}) for t in (9.0, 7.5))
    )
    assert planned(arrivals="trace", trace=str(lines)).due_s == (0.0, 1.5)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", '{"timestamp_s": 1}\n', "{not json\n"])
def test_a_bad_trace_says_what_it_should_hold(tmp_path, text):
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(InvalidSpec, match="trace"):
        planned(arrivals="trace", trace=str(file))


def traced(tmp_path, n, *, seed=5):
    """A trace of conversations in Mooncake's form, of which some go on and the last block may be part of one."""
    rng, ids, rows, next_id = random.Random(seed), [[]], [], 0
    for i in range(n):
        before = rng.choice(ids)
        new = range(next_id, next_id := next_id + rng.randrange(1, 4))
        ids.append([*before, *new])
        length = 512 * (len(ids[-1]) - 1) + rng.randrange(1, 513)
        rows.append({"timestamp": 100_000 * i, "input_length": length, "output_length": 20, "hash_ids": ids[-1]})
    file = tmp_path / "conversations.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def lru_hit_fraction(bodies, *, n_blocks):
    """Share of the prompts' words that an LRU of blocks of 16 words holds, each request after the one before."""
    held, hits, total = OrderedDict(), 0, 0
    for words in (body["prompt"].split() for body in bodies):
        keys = [tuple(words[: 16 * (i + 1)]) for i in range(len(words) // 16)]
        known = [key in held for key in keys[: (len(words) - 1) // 16]]
        hits, total = hits + 16 * ([*known, False].index(False)), total + len(words)
        for key in reversed(keys):
            held[key] = held.pop(key, None)
        while len(held) > n_blocks:
            held.popitem(last=False)
    return hits / total


@pytest.mark.parametrize("cache_tokens", [1_000_000, 12_000])
def test_prompts_of_a_trace_share_what_its_hash_ids_say(tmp_path, cache_tokens):
    file = traced(tmp_path, 60)
    bodies = first_bodies(LoadSpec(url="http://localhost", model="m", arrivals="trace", trace=file, duration_s=1e5))
    trace = read_trace(Path(file))
    assert [len(b["prompt"].split()) for b in bodies] == [a.input_tokens for a in trace.arrivals]
    cost = LinearCost(fixed_s=5e-3, sequence_s=2e-5, prompt_token_s=3e-5, cached_token_s=4e-8)
    done = replicas(1, trace.arrivals, cost, EngineLimits(cache_tokens=cache_tokens))
    expected = lru_hit_fraction(bodies, n_blocks=cache_tokens // 16)
    assert 0.1 < expected == pytest.approx(done.hit_fraction, abs=0 if cache_tokens > 100_000 else 0.01)


def test_a_trace_with_hash_ids_decides_what_prompts_share(tmp_path):
    with pytest.raises(InvalidSpec, match="hash ids"):
        planned(arrivals="trace", trace=traced(tmp_path, 3), shared_prefix_tokens=8)
