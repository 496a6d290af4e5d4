"""Types whose code lies beside their weights have the published counts of their checkpoints; other types are refused."""

import pytest

pytest.importorskip("torch")

from workbench.core.errors import NotAModel
from workbench.understanding.construct import construct
from workbench.understanding.parameters import parts_of


def shape(model_type, hidden, intermediate, layers, heads, vocabulary, **more):
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
    return {"model_type": model_type, **sizes, "num_attention_heads": heads, "vocab_size": vocabulary, **more}


GLM = {
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "add_qkv_bias": True,
    "kv_channels": 128,
    "num_attention_heads": 32,
}
EXPERTS = {"n_shared_experts": 2, "n_routed_experts": 64, "num_experts_per_tok": 6, "moe_intermediate_size": 1408}
PUBLISHED = {
    "MiniCPM-2B": (2_724_880_896, shape("minicpm", 2304, 5760, 40, 36, 122753, num_key_value_heads=36, dim_model_base=256)),
    "InternLM2.5-7B": (7_737_708_544, shape("internlm2", 4096, 14336, 32, 32, 92544, num_key_value_heads=8, bias=False)),
    "Baichuan2-7B": (7_505_973_248, shape("baichuan", 4096, 11008, 32, 32, 125696, model_max_length=4096)),
    "Baichuan2-13B": (13_896_668_160, shape("baichuan", 5120, 13696, 40, 40, 125696)),
    "Qwen-7B": (7_721_324_544, shape("qwen", 4096, 22016, 32, 32, 151936, seq_length=8192)),
    "DeepSeek-MoE-16B": (
        16_375_728_128,
        shape("deepseek", 2048, 10944, 28, 16, 102400, num_key_value_heads=16, first_k_dense_replace=1, **EXPERTS),
    ),
    "GLM-4-9B": (
        9_399_951_360,
        {"model_type": "chatglm", "hidden_size": 4096, "num_layers": 40, "ffn_hidden_size": 13696, "padded_vocab_size": 151552, **GLM},
    ),
    "ChatGLM3-6B": (
        6_243_584_000,
        {"model_type": "chatglm", "hidden_size": 4096, "num_layers": 28, "ffn_hidden_size": 13696, "padded_vocab_size": 65024, **GLM},
    ),
    "EXAONE-3.5-7.8B": (
        7_818_448_896,
        {k: v for k, v in shape("exaone", 4096, 14336, 0, 32, 102400, num_layers=32, num_key_value_heads=8).items()
         if k != "num_hidden_layers"} | {"tie_word_embeddings": False},
    ),
    "StableLM-3B-4E1T": (2_795_443_200, shape("stablelm_epoch", 2560, 6912, 32, 32, 50304, num_key_value_heads=32, rope_pct=0.25)),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_alias_has_the_published_count(name):
    published, fields = PUBLISHED[name]
    made = construct(fields)
    assert parts_of(made).total == published
    assert "is not run" in made.notes[0]


def test_other_types_are_refused_by_name():
    with pytest.raises(NotAModel, match="'grok-1' is not known to transformers"):
        construct(shape("grok-1", 6144, 32768, 64, 48, 131072))


def test_an_alias_does_not_hide_fields_that_set_a_size():
    with pytest.raises(NotAModel, match="num_experts"):
        construct(shape("minicpm", 2304, 5760, 40, 36, 122753, num_experts=8))
