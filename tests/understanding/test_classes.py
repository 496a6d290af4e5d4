"""What is said of a model is what its class of transformers builds and keeps, one process for all classes."""

import os

import pytest

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

torch = pytest.importorskip("torch")

from support.small_models import small_fields  # noqa: E402

from workbench.understanding.child import understand  # noqa: E402
from workbench.understanding.construct import construct  # noqa: E402

TYPES = (
    *(
        "arcee",
        "bamba",
        "cohere2",
        "deepseek_v2",
        "deepseek_v3",
        "dots1",
        "ernie4_5_moe",
        "exaone4",
        "falcon",
        "falcon_h1",
    ),
    *(
        "falcon_mamba",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gemma3n_text",
        "gemma4_text",
        "glm4_moe",
        "gpt2",
        "gpt_bigcode",
    ),
    *(
        "gpt_neox",
        "gpt_oss",
        "granitemoehybrid",
        "hunyuan_v1_moe",
        "jamba",
        "lfm2",
        "llama",
        "llama4_text",
        "longcat_flash",
    ),
    *("mamba2", "mimo_v2_flash", "minicpm3", "minimax", "minimax_m2", "mixtral", "nemotron_h", "olmo2", "phi", "phi3"),
    *("qwen2", "qwen3_moe", "qwen3_next", "stablelm", "zamba2"),
)
TOKENS = 20


def held_bytes(thing, seen, depth=0):
    """Return the bytes of all tensors that a cache holds, each once."""
    if isinstance(thing, torch.Tensor):
        is_new = id(thing) not in seen and thing.dim() > 1
        seen.add(id(thing))
        return thing.numel() * thing.element_size() if is_new else 0
    if isinstance(thing, dict | list | tuple):
        return sum(held_bytes(v, seen, depth + 1) for v in (thing.values() if isinstance(thing, dict) else thing))
    return (
        sum(held_bytes(v, seen, depth + 1) for v in vars(thing).values())
        if hasattr(thing, "__dict__") and depth < 6
        else 0
    )


@pytest.mark.parametrize("model_type", TYPES)
def test_parameters_and_cache_are_those_of_the_class(model_type):
    fields = small_fields(model_type)
    spec, model = understand(fields), construct(fields, device="cpu").model
    built = sum({id(p): p.numel() for p in model.parameters()}.values())
    if model_type != "longcat_flash":  # its class makes weights for experts that have none
        assert spec.n_params == built
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.02)
    with torch.no_grad():
        answer = model(input_ids=torch.arange(3, 3 + TOKENS)[None], use_cache=True)
    cache = getattr(answer, "past_key_values", None)
    cache = answer.cache_params if cache is None else cache
    kept = sum(  # a window of w holds the last w - 1 tokens, the next one is the w-th
        g.n_layers * g.elements_per_token * 2 * (min(TOKENS, g.window_tokens - 1) if g.window_tokens else TOKENS)
        for g in spec.kv_layers
    )
    assert kept + spec.state_bytes == held_bytes(cache, set())
    assert spec.kv_elements_per_token == sum(g.n_layers * g.elements_per_token for g in spec.kv_layers)


def test_of_experts_that_lie_one_below_the_other_in_a_tensor_a_token_passes_its_own():
    spec = understand(small_fields("dbrx"))
    assert spec.experts is not None
    assert (spec.experts.n_experts, spec.experts.n_per_token, spec.experts.intermediate) == (4, 1, 32)
    assert spec.n_params - spec.n_active_params == 2 * 3 * 3 * 32 * 64
