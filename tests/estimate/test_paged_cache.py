"""Pages of vLLM's cache: blocks that its logs and its code report, and properties."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.model_spec import KvLayers
from workbench.catalog.models import catalog_models
from workbench.core.errors import NotAvailable
from workbench.core.units import GIB
from workbench.estimate.kv_cache import kv_cache_bytes
from workbench.estimate.paged_cache import STATE_PAGES, kv_copies, paged_cache

MODELS = catalog_models()
LLAMA = MODELS["meta-llama/Meta-Llama-3.1-8B"]
GEMMA = MODELS["google/gemma-3-27b-it"]
KNOWN = [m for m in MODELS.values() if m.kv_layers]
HYBRID = replace(
    LLAMA,
    name="27B with 48 recurrent layers of 64",
    n_layers=64,
    n_kv_heads=4,
    kv_layers=(KvLayers(n_layers=16, elements_per_token=2 * 4 * 256),),
    state_bytes=48 * (48 * 128 * 128 * 4 + 10240 * 3 * 2),
)


def test_a_plain_cache_has_one_group_of_pages_of_16_tokens():
    pages = paged_cache(LLAMA)
    assert pages.block_bytes == 16 * 131_072
    assert pages.sequence_bytes(17) == 2 * pages.block_bytes
    assert pages.room_tokens(10 * pages.block_bytes, context_tokens=17, chunk_tokens=8192) == 160


def test_gemma_has_groups_of_as_many_layers_as_its_rarest_kind():
    """10 whole layers and 52 with a window of 1024 make groups of 10: 1 + 6 of them (vLLM 0.32.0, kv_cache_utils)."""
    pages = paged_cache(GEMMA)
    assert sorted(g.n_groups for g in pages.groups) == [1, 6]
    assert pages.block_bytes == 10 * 16 * 16 * 128 * 2 * 2
    # At 131,072 tokens and chunks of 2048 its code asks for 8192 blocks and 6 times 193, 11.4 GiB; plain are 10.4.
    longest = pages.sequence_bytes(131_072) + pages.reading_bytes(131_072, chunk_tokens=2048)
    assert longest / pages.block_bytes == 8192 + 6 * 193
    assert kv_cache_bytes(GEMMA, context_tokens=131_072) < longest


def test_short_sequences_of_gemma_take_a_page_of_each_group():
    """gemma-3-4b on an L4: 10.99 GiB were said to hold 176,721 tokens of 8192 each, in chunks of 2048 (vLLM 0.21.0)."""
    pages = paged_cache(MODELS["google/gemma-3-4b-it"])
    room = pages.room_tokens(10.99 * GIB, context_tokens=8192, chunk_tokens=2048)
    assert room == pytest.approx(176_721, rel=2e-3)


def test_a_state_is_padded_to_a_page_and_held_twice():
    """A log of vLLM 0.30 on a GH200: "attention block size to 1568 tokens", 809,733 tokens of 131,072 in 26.69 GiB, FP8 cache."""
    pages = paged_cache(HYBRID, kv_bits=8)
    tokens, state = pages.groups
    assert tokens.block_tokens == 1568
    assert (tokens.n_groups, state.n_groups) == (1, 3)
    assert pages.state_bytes() == 3 * STATE_PAGES * pages.block_bytes >= HYBRID.state_bytes
    assert pages.room_tokens(26.69 * GIB, context_tokens=131_072, chunk_tokens=8192) == pytest.approx(809_733, rel=2e-3)


def test_a_model_of_states_alone_takes_no_more_for_longer_texts():
    pages = paged_cache(replace(HYBRID, kv_layers=()))
    assert pages.sequence_bytes(10) == pages.sequence_bytes(10**6) == pages.state_bytes()


def test_layers_of_unlike_heads_share_pages_by_the_tokens_that_fit():
    kinds = (
        KvLayers(n_layers=8, elements_per_token=4096),
        KvLayers(n_layers=24, elements_per_token=1024, window_tokens=512),
    )
    whole, windowed = paged_cache(replace(LLAMA, kv_layers=kinds)).groups
    assert (whole.block_tokens, windowed.block_tokens) == (16, 64)


def test_kv_heads_are_stored_again_where_there_are_fewer_than_devices():
    assert kv_copies(MODELS["deepseek-ai/DeepSeek-V3"], tensor_parallel=8) == 8  # the latent belongs to all heads
    assert kv_copies(LLAMA, tensor_parallel=8) == 1
    assert kv_copies(LLAMA, tensor_parallel=16) == 2
    kinds = (
        KvLayers(n_layers=16, elements_per_token=2048, n_heads=8),
        KvLayers(n_layers=16, elements_per_token=2048, n_heads=2),
    )
    assert kv_copies(replace(LLAMA, kv_layers=kinds), tensor_parallel=8) == (1 + 4) / 2


def test_a_cache_that_is_not_known_says_so():
    with pytest.raises(NotAvailable, match="not in the catalogue"):
        paged_cache(replace(LLAMA, kv_layers=None))


@given(st.sampled_from(KNOWN), st.integers(1, 200_000), st.sampled_from([16, 8]), st.sampled_from([1, 2, 8]))
def test_pages_hold_at_least_the_plain_cache_and_never_shrink(model, tokens, bits, devices):
    pages = paged_cache(model, tensor_parallel=devices, kv_bits=bits)
    here = pages.sequence_bytes(tokens)
    assert here >= kv_cache_bytes(model, context_tokens=tokens, kv_bits=bits) * (1 - 1e-9)
    assert pages.sequence_bytes(tokens + 1) >= here
    assert pages.reading_bytes(tokens, chunk_tokens=8192) >= 0
