"""Memory of caches: worked examples from published shapes, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models, model_spec_from, model_spec_from_config
from workbench.core.errors import DoesNotFit, NotAvailable
from workbench.estimate.kv_cache import kv_cache_bytes, longest_context_tokens, prefill_workspace_bytes

LLAMA = catalog_models()["meta-llama/Meta-Llama-3.1-8B"]
KNOWN = [m for m in catalog_models().values() if m.kv_layers]


def test_the_cache_of_llama_at_128k_is_16_gib():
    """2 x 32 layers x 8 KV heads x 128 x 2 B = 128 KiB a token (config.json of Llama-3.1-8B)."""
    assert kv_cache_bytes(LLAMA, context_tokens=131072) == 16 * 2**30


def test_the_latent_of_deepseek_takes_70272_bytes_a_token():
    """61 layers x (512 + 64) x 2 B (config.json of DeepSeek-V3)."""
    model = catalog_models()["deepseek-ai/DeepSeek-V3"]
    assert kv_cache_bytes(model, context_tokens=1) == 70_272


@pytest.mark.parametrize(
    ("name", "windowed", "window"),
    [
        ("mistralai/Mistral-7B-v0.1", 32, 4096),
        ("google/gemma-2-9b", 21, 4096),
        ("google/gemma-3-27b-it", 52, 1024),
        ("openai/gpt-oss-20b", 12, 128),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 36, 8192),
    ],
)
def test_layers_with_a_window_are_read_from_the_catalogue(name, windowed, window):
    groups = catalog_models()[name].kv_layers
    local = [g for g in groups if g.window_tokens]
    assert [(g.n_layers, g.window_tokens) for g in local] == [(windowed, window)]
    assert sum(g.n_layers for g in groups) == catalog_models()[name].n_layers


def test_layer_kinds_are_read_from_a_configuration():
    config = {
        "model_type": "gemma3_text",
        "hidden_size": 64,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "vocab_size": 256,
        "sliding_window": 512,
        "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
    }
    groups = model_spec_from_config(config, name="m", source="s").kv_layers
    assert [(g.n_layers, g.window_tokens, g.elements_per_token) for g in groups] == [
        (5, 512, 2 * 2 * 256),  # the class has heads of 256 where the file names no width
        (1, None, 2 * 2 * 256),
    ]


@given(st.sampled_from(KNOWN), st.integers(1, 200_000), st.sampled_from([16, 8, 4]), st.sampled_from([1, 16]))
def test_more_tokens_never_take_less_and_half_the_bits_take_half(model, tokens, bits, page):
    here = kv_cache_bytes(model, context_tokens=tokens, kv_bits=bits, page_tokens=page)
    assert kv_cache_bytes(model, context_tokens=tokens + 1, kv_bits=bits, page_tokens=page) >= here
    assert kv_cache_bytes(model, context_tokens=tokens, kv_bits=bits / 2, page_tokens=page) == pytest.approx(here / 2)
    full = tokens + page
    assert here <= model.kv_elements_per_token * full * bits / 8


@given(st.integers(10**8, 10**12), st.integers(1, 64), st.sampled_from([1, 16]))
def test_the_longest_context_fits_and_one_page_more_does_not(free, batch, page):
    try:
        tokens = longest_context_tokens(LLAMA, free_bytes=free, batch=batch, page_tokens=page)
    except DoesNotFit:
        assert kv_cache_bytes(LLAMA, context_tokens=page, batch=batch, page_tokens=page) > free
        return
    assert kv_cache_bytes(LLAMA, context_tokens=tokens, batch=batch, page_tokens=page) <= free
    assert kv_cache_bytes(LLAMA, context_tokens=tokens + page, batch=batch, page_tokens=page) > free


def test_a_cache_that_is_not_known_says_so():
    model = catalog_models()["deepseek-ai/DeepSeek-V4-Flash"]
    with pytest.raises(NotAvailable, match="not in the catalogue"):
        kv_cache_bytes(model, context_tokens=10)


def test_the_workspace_is_that_of_the_widest_place():
    model = model_spec_from("data/models/llama-3.1-8b-shape")
    assert prefill_workspace_bytes(model, chunk_tokens=1) == (2 * 4096 + 3 * 14336) * 2
