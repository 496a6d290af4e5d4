"""The cache formula against bytes that transformers' caches really hold, and our own cache against theirs."""

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, Gemma3TextConfig, LlamaConfig, MistralConfig

from workbench.attention.kv_cache import held_bytes, preallocated_cache
from workbench.catalog.models import model_spec_from_config
from workbench.estimate.kv_cache import kv_cache_bytes

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
MODELS = {
    "MHA": LlamaConfig(**SMALL, num_key_value_heads=4),
    "GQA": LlamaConfig(**SMALL, num_key_value_heads=2),
    "sliding": MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=16),
    "hybrid": Gemma3TextConfig(
        **SMALL, num_key_value_heads=2, sliding_window=16, pad_token_id=0, bos_token_id=1, eos_token_id=2
    ),
}


@pytest.fixture(params=list(MODELS))
def config_and_model(request):
    torch.manual_seed(0)
    return MODELS[request.param], AutoModelForCausalLM.from_config(MODELS[request.param]).eval()


@torch.inference_mode()
def test_the_formula_is_what_a_growing_cache_holds(config_and_model):
    config, model = config_and_model
    spec = model_spec_from_config(config.to_dict(), name="m", source="test")
    cache = DynamicCache(config=config)
    tokens = 100
    model(torch.zeros((1, tokens), dtype=torch.long), past_key_values=cache, use_cache=True)
    windowed = sum(g.n_layers * g.elements_per_token for g in spec.kv_layers if g.window_tokens)
    # A sliding layer keeps one position less than its window: the query brings its own.
    expected = kv_cache_bytes(spec, context_tokens=tokens, kv_bits=32) - windowed * 4
    assert held_bytes(cache) == expected


@torch.inference_mode()
@pytest.mark.parametrize("name", ["MHA", "GQA"])
def test_a_preallocated_cache_gives_the_answers_of_a_growing_one(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MODELS[name]).eval()
    ids = torch.randint(0, 64, (1, 40))
    own, growing = preallocated_cache(MODELS[name], room=64), DynamicCache()
    for at in (0, 13, 39):
        part = ids[:, at : {0: 13, 13: 39, 39: 40}[at]]
        a, b = (model(part, past_key_values=c, use_cache=True).logits for c in (own, growing))
        assert (a - b).abs().max() < 1e-5
    assert own.get_seq_length() == 40
    assert held_bytes(own) == held_bytes(growing) * 64 / 40
