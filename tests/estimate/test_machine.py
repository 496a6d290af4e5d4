"""Splits, experts and speculation: what must hold whatever the constants are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models
from workbench.core.errors import InvalidSpec
from workbench.estimate.device_calibration import machine_of, offers
from workbench.estimate.experts import hottest_share, touched_experts
from workbench.estimate.launch import launch_command
from workbench.estimate.linear_layers import n_expert_layers, passed_weights, products, routed_weights
from workbench.estimate.machine import Link, Split
from workbench.estimate.prediction import Question, predicted, tokens_per_step
from workbench.estimate.search import Load, Plan, plans
from workbench.estimate.step_time import decode_step_s, prompt_s

MACHINE, _ = machine_of("h200-sxm")
DENSE = catalog_models()["meta-llama/Meta-Llama-3.1-70B"]
MIXTURE = catalog_models()["Qwen/Qwen3-30B-A3B"]
DEEPSEEK = catalog_models()["deepseek-ai/DeepSeek-V3"]


def step(model, split, *, batch=32, context=1024):
    size = {"batch": np.array([float(batch)]), "context": np.array([float(context)])}
    return float(decode_step_s(model, {}, replace(MACHINE, split=split), kv_bits=16, **size)[0])


def test_a_worked_example_of_touched_experts():
    # Even routing, 8 of 128, two tokens: 128 (1 - (1 - 8/128)^2) = 15.5.
    made = touched_experts(MIXTURE.experts, np.array([1.0, 2.0]), skew=0.0)
    assert made == pytest.approx([8.0, 15.5])


@given(st.integers(1, 5000), st.floats(0, 1))
def test_never_more_experts_than_there_are_and_skew_touches_fewer(tokens, skew):
    n = np.array([float(tokens)])
    even, skewed = (touched_experts(MIXTURE.experts, n, skew=s)[0] for s in (0.0, skew))
    assert skewed <= even * (1 + 1e-9) <= 128 * (1 + 1e-9)
    assert hottest_share(MIXTURE.experts, 8, skew=skew) >= 1 - 1e-9


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("zai-org/GLM-4.5-Air", 45),
        ("deepseek-ai/DeepSeek-V3", 58),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 24),
        ("Qwen/Qwen3-30B-A3B", 48),
        ("moonshotai/Kimi-K2-Instruct", 60),
    ],
)
def test_layers_with_experts_follow_from_the_two_counts(name, layers):
    """As their configurations say: leading dense layers, and every other layer in Maverick."""
    assert n_expert_layers(catalog_models()[name]) == layers


def test_weights_that_tokens_pass_and_choose_add_up():
    for model in (MIXTURE, DEEPSEEK, DENSE):
        ends = 2 * model.vocab_size * model.hidden
        assert routed_weights(model) + passed_weights(model) + ends == pytest.approx(model.n_params, rel=1e-6)
    assert {p.role for p in products(MIXTURE).values()} == {"qkv", "o_proj", "gate"}  # the gate is the router


def test_cutting_layers_shortens_steps_and_stages_do_not():
    alone, tensor = step(DENSE, Split()), step(DENSE, Split(tensor=4))
    stages = step(DENSE, Split(pipeline=4))
    assert tensor < stages < alone * 1.01
    assert step(DENSE, Split(pipeline=2), batch=64) == pytest.approx(step(DENSE, Split(), batch=32), rel=0.02)


def test_stages_read_long_prompts_side_by_side():
    def reading(split, n):
        size = {"batch": np.array([1.0]), "context": np.array([float(n)])}
        return float(prompt_s(DENSE, {}, replace(MACHINE, split=split), **size)[0])

    assert reading(Split(pipeline=2), 8192) > 0.9 * reading(Split(), 8192)
    assert reading(Split(pipeline=2), 65536) < 0.65 * reading(Split(), 65536)


def test_whole_experts_wait_for_the_busiest_device():
    even = replace(MACHINE, split=Split(tensor=8, is_expert_parallel=True), skew=0.0)
    size = {"batch": np.array([256.0]), "context": np.array([1024.0]), "kv_bits": 16}
    skewed = replace(even, skew=0.8)
    assert decode_step_s(DEEPSEEK, {}, even, **size)[0] < decode_step_s(DEEPSEEK, {}, skewed, **size)[0]


def test_prefixes_in_the_cache_and_right_guesses_save_time():
    def asked(**changes):
        question = Question(input_tokens=4096, concurrency=8, **changes)
        return predicted(DENSE, replace(MACHINE, split=Split(tensor=2)), question, memory_bytes=141e9, is_own=True)

    plain = asked()
    assert asked(cached_fraction=0.9).ttft_s.value < 0.3 * plain.ttft_s.value
    assert asked(draft_tokens=4, acceptance=0.8).tpot_s.value < plain.tpot_s.value
    assert asked(draft_tokens=4, acceptance=0.0).tpot_s.value > plain.tpot_s.value
    assert tokens_per_step(0.8, 4) == pytest.approx((1 - 0.8**5) / (1 - 0.8))
    with pytest.raises(InvalidSpec, match="Shares"):
        asked(cached_fraction=1.0)


def test_links_take_longer_for_more():
    link = Link()
    small, large = link.all_reduce_s(np.array([1e3, 1e9]), n_devices=2)
    assert small == pytest.approx(link.latency_s, rel=0.01)
    assert large > 1e9 / link.bytes_per_s
    assert link.all_to_all_s(np.array([1e6]), n_devices=1) == 0


def test_measured_links_are_met_exactly_and_the_nearest_number_of_devices_counts():
    link = Link(measured={"2": [[1e4, 1e8], [1e-5, 4e-4]], "4": [[1e4, 1e8], [1.5e-5, 6e-4]]})
    sizes = np.array([1.0, 1e4, 1e8, 2e8])
    assert link.all_reduce_s(sizes, n_devices=2) == pytest.approx([1e-5, 1e-5, 4e-4, 8e-4])
    assert link.all_reduce_s(sizes, n_devices=8) == pytest.approx([1.5e-5, 1.5e-5, 6e-4, 1.2e-3])
    assert link.all_to_all_s(sizes, n_devices=4) == pytest.approx(link.all_reduce_s(sizes / 2, n_devices=4))
    assert link.hand_over_s(np.zeros(1)) == pytest.approx(1e-5 / 2)


def test_a_split_is_vouched_for_only_where_it_was_measured():
    assert Split().is_among(())
    assert Split(tensor=4).is_among((2, 4))
    assert not Split(tensor=8).is_among((2, 4))
    assert not Split(tensor=2, pipeline=2).is_among((2, 4))
    assert not Split(tensor=4, is_expert_parallel=True).is_among((2, 4))


@pytest.mark.parametrize(
    ("split", "says"),
    [
        (Split(tensor=3), "heads cannot be divided"),
        (Split(pipeline=100), "fewer than 100 stages"),
        (Split(tensor=2, is_expert_parallel=True), "no experts"),
    ],
)
def test_splits_that_cannot_be_say_why(split, says):
    assert says in split.reason_against(DENSE)
    with pytest.raises(InvalidSpec, match="replicas"):
        Split(data=2)


def test_a_model_that_does_not_fit_says_what_would_make_it_fit():
    load = Load(requests_per_s=1, input_tokens=1024, output_tokens=128, ttft_s=10, tpot_s=1)
    found = plans(DENSE, load, offers(["h100-sxm"]), group_sizes=(1,), precisions=("bf16",))
    assert all("it would fit on 2 of these devices" in p.reason for p in found)
    assert any("% of the bits" in p.reason for p in found)


def test_several_machines_are_joined_by_ray():
    load = Load(requests_per_s=1, input_tokens=1024, output_tokens=128, ttft_s=30, tpot_s=1)
    found = plans(DEEPSEEK, load, offers(["h100-sxm"]), group_sizes=(16, 32), precisions=("bf16",), kv_bits=(16,))
    plan = next(p for p in found if p.reason is None)
    assert isinstance(plan, Plan)
    command = launch_command("deepseek", plan, load)
    assert "ray start --head" in command
    assert "--distributed-executor-backend ray" in command
