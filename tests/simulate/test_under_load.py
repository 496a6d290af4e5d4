"""Steady loads: the estimate of a closed loop against the static one and what was measured."""

from dataclasses import replace

import pytest

from workbench.catalog.models import catalog_models, model_spec_from
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.prediction import Question, predicted
from workbench.simulate.under_load import predicted_under_load

MODEL, MACHINE = catalog_models()["meta-llama/Meta-Llama-3.1-8B"], machine_of("h200-sxm")[0]
KNOWN = {"memory_bytes": 150e9, "is_own": True}


def test_a_steady_load_waits_for_the_prompts_of_others():
    static = predicted(MODEL, MACHINE, Question(concurrency=32), **KNOWN)
    steady = predicted_under_load(MODEL, MACHINE, Question(concurrency=32, arrival="steady"), **KNOWN)
    assert steady.tpot_s.value > static.tpot_s.value
    assert steady.ttft_s.value < static.ttft_s.value
    assert steady.memory == static.memory
    for interval in (steady.ttft_s, steady.tpot_s, steady.output_tokens_per_s):
        assert interval.low < interval.value < interval.high


def test_one_user_waits_for_the_own_prompt_only():
    alone = predicted_under_load(MODEL, MACHINE, Question(concurrency=1, arrival="steady"), **KNOWN)
    step = predicted(MODEL, MACHINE, Question(concurrency=1), **KNOWN).tpot_s.value
    assert alone.tpot_s.value == pytest.approx(step, rel=0.02)


@pytest.mark.parametrize(("users", "ttft_s", "tpot_s"), [(8, 0.569, 0.01317), (32, 1.586, 0.0194)])
def test_an_estimate_is_near_a_measured_closed_loop(users, ttft_s, tpot_s):
    """24B in BF16 on an H200 (data/measured/load_mistral-small-24b-shape_bf16_closed-*)."""
    model = model_spec_from("data/models/mistral-small-24b-shape")
    question = Question(concurrency=users, arrival="steady", input_tokens=1024, output_tokens=128)
    found = predicted_under_load(model, MACHINE, replace(question, precision="bf16"), **KNOWN)
    assert found.ttft_s.value == pytest.approx(ttft_s, rel=0.3)
    assert found.tpot_s.value == pytest.approx(tpot_s, rel=0.35)
