"""Arrivals have the rate, the spread and the order that their names promise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import InvalidSpec
from workbench.load.schedule import n_left_out, schedule
from workbench.load.spec import LoadSpec


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
    assert len(schedule(LoadSpec(**cut)).input_tokens) == n_left_out(LoadSpec(**cut)) == 1
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
