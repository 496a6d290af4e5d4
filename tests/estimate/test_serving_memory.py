"""Memory of a served model by part, beside what vLLM logged at its starts."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models
from workbench.catalog.tables import devices
from workbench.core.errors import InvalidSpec
from workbench.core.units import GIB
from workbench.estimate.context_limit import require_within_context
from workbench.estimate.serving_memory import MemorySettings, context_plan

ROOT = Path(__file__).parents[2]
MODELS = catalog_models()
LLAMA = MODELS["meta-llama/Meta-Llama-3.1-8B"]
H100 = devices()["h100-sxm"].memory_bytes
NOT_EXPLAINED = {
    ("Qwen/Qwen3-235B-A22B", "0.10"),  # a server with an LMCache connector, whose buffers are not modelled
    ("deepseek-ai/DeepSeek-R1", "0.11.2"),  # MLA's second copy of kv_b_proj and its prefill buffers are not modelled
}


def starts_of_vllm():
    spec = importlib.util.spec_from_file_location("cache_sizes", ROOT / "benchmarks" / "cache_sizes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cache_sizes()


def test_the_cache_has_room_for_what_vllm_logged_within_5_percent():
    starts = starts_of_vllm()
    assert len(starts) >= 30
    off = {(s.model, s.vllm) for s in starts if abs(s.error) > 0.05}
    assert off == NOT_EXPLAINED


def test_the_parts_of_a_plan_add_up():
    plan = context_plan(LLAMA, memory_bytes=H100, context_tokens=4096, batch=8)
    assert plan.does_fit
    assert plan.needed_bytes == plan.fixed_bytes + 8 * plan.sequence_bytes
    assert plan.fixed_bytes == plan.weight_bytes + plan.workspace_bytes + plan.reserve_bytes
    assert plan.sequence_bytes == 4096 * 131_072
    assert plan.room_tokens == (plan.usable_bytes - plan.fixed_bytes) // (16 * 131_072) * 16


def test_a_model_that_is_too_large_leaves_no_context():
    plan = context_plan(MODELS["meta-llama/Meta-Llama-3.1-70B"], memory_bytes=H100, context_tokens=1024)
    assert not plan.does_fit
    assert (plan.longest_tokens, plan.room_tokens) == (0, 0)


@given(st.integers(1, 64), st.integers(20, 200))
def test_the_longest_context_fits_and_one_page_more_does_not(batch, memory_gib):
    settings = MemorySettings(chunk_tokens=8192)
    plan = context_plan(LLAMA, memory_bytes=memory_gib * GIB, context_tokens=16, batch=batch, settings=settings)
    for more, fits in ((0, True), (16, False)):
        tokens = plan.longest_tokens + more
        if tokens:
            at = context_plan(
                LLAMA, memory_bytes=memory_gib * GIB, context_tokens=tokens, batch=batch, settings=settings
            )
            assert at.does_fit is fits


def test_a_sequence_stays_in_the_group_that_attends_to_it():
    model = MODELS["Qwen/Qwen3-30B-A3B"]
    one = context_plan(model, memory_bytes=H100, context_tokens=4096)
    four = context_plan(model, memory_bytes=H100, expert_groups=4, context_tokens=4096)
    assert four.room_tokens > 4 * four.longest_tokens - 4 * 16 > 4 * one.longest_tokens


def test_states_are_a_part_of_their_own():
    hybrid = replace(LLAMA, n_layers=40, state_bytes=8 * 2**20)
    plan = context_plan(hybrid, memory_bytes=H100, context_tokens=4096, batch=4)
    assert plan.state_bytes >= 4 * hybrid.state_bytes
    assert context_plan(LLAMA, memory_bytes=H100, context_tokens=4096).state_bytes == 0


def test_memory_is_as_the_driver_reports_it_where_that_was_seen():
    known = {d.id: d for d in devices().values() if d.reported_memory_source}
    assert round(H100 / GIB, 2) == 79.19
    assert len(known) >= 20
    sheet = devices()["h200-nvl"]  # never seen: the data sheet's 141 GB
    assert (sheet.memory_bytes, sheet.reported_memory_source) == (141e9, None)


@pytest.mark.parametrize(("limit", "refused"), [(4096, True), (100_000, False), (0, False)])
def test_a_request_beyond_the_models_length_is_refused_with_the_limit(limit, refused):
    model = replace(LLAMA, max_context_tokens=limit)
    if not refused:
        require_within_context(model, 99_000, 1000)
        return
    with pytest.raises(InvalidSpec, match=r"at most 4,096 tokens.*100,000 were asked for") as error:
        require_within_context(model, 99_000, 1000)
    assert "4,096" in error.value.remedy
