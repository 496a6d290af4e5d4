"""Rows of the catalogue have the counts of their class of transformers at full size, where a row names all of its sizes."""

import pytest

pytest.importorskip("torch")

from workbench.catalog.models import catalog_models
from workbench.understanding.construct import construct
from workbench.understanding.parameters import parts_of

TYPES = {
    "llama": "llama",
    "LlamaForCausalLM": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "mistral": "mistral",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3_text",
    "phi3": "phi3",
    "glm4": "glm4",
    "GptOssForCausalLM": "gpt_oss",
    "MixtralForCausalLM": "mixtral",
    "DeepseekV3ForCausalLM": "deepseek_v3",
}
ROWS = [row for row in catalog_models().values() if row.architecture in TYPES]


def row_fields(row):
    """Return the configuration that a row stands for."""
    fields = {
        "model_type": TYPES[row.architecture],
        "hidden_size": row.hidden,
        "intermediate_size": row.intermediate,
        "num_hidden_layers": row.n_layers,
        "num_attention_heads": row.n_heads,
        "num_key_value_heads": row.n_kv_heads,
        "vocab_size": row.vocab_size,
        "tie_word_embeddings": row.tied_embeddings,
    }
    if fields["model_type"] != "deepseek_v3":
        fields["head_dim"] = row.head_dim
    if row.experts:
        fields |= {"num_experts": row.experts.n_experts, "num_local_experts": row.experts.n_experts}
        fields |= {"n_routed_experts": row.experts.n_experts, "num_experts_per_tok": row.experts.n_per_token}
        fields |= {
            "moe_intermediate_size": row.experts.intermediate,
            "first_k_dense_replace": row.experts.n_dense_layers,
        }
        own = {"qwen3_moe": {"num_experts"}, "deepseek_v3": {"n_routed_experts", "first_k_dense_replace"}}
        named = own.get(fields["model_type"], {"num_local_experts"})
        every = {"num_experts", "num_local_experts", "n_routed_experts", "first_k_dense_replace"}
        fields = {k: v for k, v in fields.items() if k not in every - named}
    return fields


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_has_the_parameters_of_its_class(row):
    parts = parts_of(construct(row_fields(row)))
    assert parts.total == row.n_params
    assert parts.active == row.n_active_params
