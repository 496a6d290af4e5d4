"""What adapters cost: the estimate of their memory, slots by least recent use, verdicts by their intervals, and refusals in a sentence."""

import json
import random
from collections import OrderedDict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from workbench.apparatus.mock_process import MockProcess
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import REFERENCE_MODEL_PLACE
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.statistics import Interval
from workbench.engines.random_adapter import module_shapes, write_random_adapter
from workbench.estimate.adapters import adapter_bytes, adapter_weights
from workbench.load.rounds import RoundTimes
from workbench.questions.tuning.adapters.findings import (
    LITTLE,
    cost_answer,
    most_that_fit,
)
from workbench.questions.tuning.adapters.measure import (
    BASE,
    Names,
    VariantRound,
    listed_names,
    load_row,
    misses,
    picked,
    ranks,
    variants,
    zipf_shares,
)
from workbench.questions.tuning.adapters.spec import AdaptersSpec, check_adapters


def test_an_adapter_of_llama_3_1_8b_has_the_weights_that_peft_prints():
    """PEFT: trainable params 41,943,040 at rank 16 for all linear layers of Llama 3 8B."""
    model = language_model_from("meta-llama/Meta-Llama-3.1-8B")
    assert adapter_weights(model, rank=16) == 41_943_040
    assert adapter_bytes(model, rank=16) == 2 * 41_943_040


@given(st.sampled_from([1, 8, 64]), st.integers(2, 5))
def test_memory_grows_with_the_rank(rank, factor):
    model = language_model_from(REFERENCE_MODEL_PLACE)
    assert adapter_weights(model, rank=factor * rank) == factor * adapter_weights(model, rank=rank)


def test_a_random_adapter_has_pefts_names_and_as_many_weights_as_estimated(tmp_path):
    model = language_model_from(REFERENCE_MODEL_PLACE)
    folder = write_random_adapter(tmp_path / "a", model, rank=8, seed=0)
    tensors = load_file(folder / "adapter_model.safetensors")
    assert sum(t.size for t in tensors.values()) == adapter_weights(model, rank=8)
    assert tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (8, 384)
    assert tensors["base_model.model.model.layers.4.mlp.down_proj.lora_B.weight"].shape == (384, 8)
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 8


def test_random_adapters_of_a_mixture_of_experts_are_refused():
    model = language_model_from(REFERENCE_MODEL_PLACE)
    with pytest.raises(InvalidSpec, match="Llama family"):
        module_shapes(replace(model, has_latent_cache=True))


@given(st.integers(1, 40), st.floats(0, 5))
def test_shares_fall_from_the_most_used_adapter_on_and_are_all_requests(n, skew):
    shares = zipf_shares(n, skew)
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert skew or shares == pytest.approx([1 / n] * n)


def misses_of_an_ordered_table(models, slots, at_first):
    """Vector of a separate implementation: the slots alone, in the order of their last use."""
    table = OrderedDict((m, True) for m in at_first[-slots:])
    found = []
    for m in models:
        found.append(m not in table)
        table[m] = True
        table.move_to_end(m)
        while len(table) > slots:
            table.popitem(last=False)
    return tuple(found)


@given(st.lists(st.sampled_from("abcdef"), max_size=40), st.integers(1, 6))
def test_misses_are_those_of_slots_by_least_recent_use(models, slots):
    names = list("abcdef")
    assert misses(models, list(names), slots=slots) == misses_of_an_ordered_table(models, slots, names)
    if slots == len(names):
        assert not any(misses(models, list(names), slots=slots))


def test_requests_go_to_the_adapters_in_use_alone():
    names = Names(base="model", adapters=("a", "b", "c"))
    assert set(picked(names, BASE, n=9, rng=random.Random(0))) == {"model"}
    assert set(picked(names, (2, 0.0), n=50, rng=random.Random(0))) == {"a", "b"}


def test_the_base_model_comes_first_and_a_single_adapter_has_no_skew():
    spec = AdaptersSpec(counts=(4, 1), skews=(1.0, 0.0))
    assert variants(spec) == [BASE, (1, 0.0), (4, 0.0), (4, 1.0)]


intervals = st.lists(st.floats(0.01, 3), min_size=3, max_size=3).map(
    lambda v: Interval(*(sorted(v)[i] for i in (1, 0, 2)))
)


@given(intervals)
def test_a_cost_is_shown_only_where_its_whole_interval_lies_on_one_side(ratio):
    answer = cost_answer(ratio)
    assert (answer == "yes") == (ratio.low > 1 - LITTLE)
    assert answer != "no" or ratio.high < 1
    assert answer != "open" or ratio.low <= 1 - LITTLE <= 1 <= ratio.high


def times(ttft_s, tokens=100, span_s=1.0):
    return RoundTimes(ttft_s=tuple(ttft_s), tpot_s=(0.01,) * len(ttft_s), output_tokens=tokens, span_s=span_s)


def a_round(factor, missed=(False, False, False, True)):
    ttft_s = [0.1 * factor * (2 if m else 1) for m in missed]
    return VariantRound(at_rate=times(ttft_s), at_once=times(ttft_s, span_s=factor), missed=tuple(missed))


@given(st.floats(0.5, 4), st.integers(3, 8))
def test_a_variant_that_is_slower_by_a_factor_in_every_round_has_that_factor(factor, n):
    none_missed = (False,) * 4
    row = load_row(
        [a_round(factor, none_missed)] * n, [a_round(1.0, none_missed)] * n, variant=(4, 0.0), rank=8, slots=4
    )
    assert row.ttft_ratio.value == pytest.approx(factor)
    assert row.throughput_ratio.value == pytest.approx(1 / factor)
    assert row.missed_extra_s is None


def test_a_miss_is_compared_with_requests_of_the_same_round():
    row = load_row([a_round(1.0)] * 3, [a_round(1.0)] * 3, variant=(8, 0.0), rank=8, slots=4)
    assert row.missed_fraction == 0.25
    assert row.missed_extra_s.value == pytest.approx(0.1)


def test_the_verdict_is_about_the_most_adapters_that_all_have_a_slot():
    rows = [
        load_row([a_round(1.0)] * 3, [a_round(1.0)] * 3, variant=(n, 0.0), rank=rank, slots=4)
        for rank in (64, 8)
        for n in (1, 4, 8)
    ]
    assert (most_that_fit(rows).n_adapters, most_that_fit(rows).rank) == (4, 8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ranks": (7,)}, "Unknown ranks: 7"),
        ({"counts": ()}, "counts"),
        ({"counts": (4,), "adapters": ("a", "b")}, "2 are named"),
        ({"rounds": 2}, "2 rounds"),
        ({"skews": (-1.0,)}, "skews"),
        ({"slots": (0,)}, "slots"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(wrong, said):
    with pytest.raises(InvalidSpec, match=said):
        AdaptersSpec(**wrong)


def test_a_folder_without_an_adapter_and_a_kind_that_vllm_refuses_are_named(tmp_path):
    spec = AdaptersSpec(adapters=(str(tmp_path),), counts=(1,))
    with pytest.raises(InvalidSpec, match="holds no adapter"):
        check_adapters(spec)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"r": 8, "peft_type": "LORA"}))
    with pytest.raises(InvalidSpec, match="has no adapter_model"):
        check_adapters(spec)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    check_adapters(spec)
    assert ranks(spec) == [8]
    config.write_text(json.dumps({"r": 24, "peft_type": "LORA"}))
    assert ranks(spec) == [32]  # the least that vLLM takes
    config.write_text(json.dumps({"r": 1024, "peft_type": "LORA"}))
    with pytest.raises(InvalidSpec, match="rank 1024"):
        check_adapters(spec)
    config.write_text(json.dumps({"r": 8, "peft_type": "LORA", "use_dora": True}))
    with pytest.raises(InvalidSpec, match="DoRA"):
        check_adapters(spec)


def test_a_server_that_knows_no_adapters_says_so_in_one_sentence():
    with MockProcess() as mock, pytest.raises(NotAvailable, match="lists no adapters"):
        listed_names(mock.url, most=2)
