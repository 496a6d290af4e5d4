"""Types whose code lies beside their weights and whose layers are those of a type of transformers."""

from collections.abc import Callable, Mapping

Fields = Mapping[str, object]


def _renamed(fields: Fields, **names: str) -> dict[str, object]:
    """Return fields under other names; a field that has the new name already wins."""
    new = {own: fields[old] for old, own in names.items() if old in fields}
    return {**new, **{key: value for key, value in fields.items() if key not in names}}


def _minicpm(fields: Fields) -> dict[str, object]:
    """Llama with scaled embeddings and residuals; its class ties the embeddings unless a file says otherwise."""
    scales = {"scale_emb", "scale_depth", "dim_model_base"}  # factors, no parameters
    return {"tie_word_embeddings": True, **{key: value for key, value in fields.items() if key not in scales}}


def _kimi_k2(fields: Fields) -> dict[str, object]:
    """DeepSeek-V3 with other sizes, key by key."""
    return dict(fields)


def _internlm2(fields: Fields) -> dict[str, object]:
    """Llama with q, k and v in one matrix; ``bias``, true by default, is of all four matrices of attention."""
    return _renamed({"bias": True, **fields}, bias="attention_bias")


def _baichuan(fields: Fields) -> dict[str, object]:
    """Llama with q, k and v in one matrix, one KV head for each head; 13B has ALiBi, which has no parameters."""
    return _renamed(fields, model_max_length="max_position_embeddings")


def _qwen(fields: Fields) -> dict[str, object]:
    """Qwen2 with one KV head for each head; ``intermediate_size`` is of gate and up together."""
    width = fields.get("intermediate_size", 22016)
    halved = {"intermediate_size": width // 2 if isinstance(width, int) else width}
    own = {"tie_word_embeddings": False, "num_key_value_heads": fields.get("num_attention_heads"), **fields, **halved}
    return _renamed(own, seq_length="max_position_embeddings")


def _deepseek(fields: Fields) -> dict[str, object]:
    """GLM-4 MoE without norms of q and k: plain attention, dense layers first, shared experts."""
    heads, hidden = fields.get("num_attention_heads"), fields.get("hidden_size")
    head_dim = hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads > 0 else None
    return {"head_dim": head_dim, "attention_bias": False, "use_qk_norm": False, "tie_word_embeddings": False, **fields}


def _chatglm(fields: Fields) -> dict[str, object]:
    """GLM under other names; without ``multi_query_attention`` every head has keys of its own."""
    own = dict(fields)
    if not own.pop("multi_query_attention", False):
        own["multi_query_group_num"] = own.get("num_attention_heads")
    return _renamed(
        {"tie_word_embeddings": False, **own},
        num_layers="num_hidden_layers",
        ffn_hidden_size="intermediate_size",
        padded_vocab_size="vocab_size",
        multi_query_group_num="num_key_value_heads",
        kv_channels="head_dim",
        seq_length="max_position_embeddings",
        add_qkv_bias="attention_bias",
    )


def _exaone(fields: Fields) -> dict[str, object]:
    """Llama under other names of its matrices; its class has ``num_layers``."""
    return _renamed(fields, num_layers="num_hidden_layers")


def _mimo(fields: Fields) -> dict[str, object]:
    """Qwen2 with draft layers for multi-token prediction, which are not built."""
    return dict(fields)


def _stablelm_epoch(fields: Fields) -> dict[str, object]:
    """StableLM before transformers had it."""
    return _renamed(fields, rope_pct="partial_rotary_factor", norm_eps="layer_norm_eps")


ALIASES: Mapping[str, tuple[str, Callable[[Fields], dict[str, object]]]] = {
    "minicpm": ("llama", _minicpm),  # MiniCPM-2B 2,724,880,896
    "kimi_k2": ("deepseek_v3", _kimi_k2),  # Kimi-K2 1.03 T, 32 B active
    "internlm2": ("llama", _internlm2),  # InternLM2.5-7B 7,737,708,544
    "baichuan": ("llama", _baichuan),  # Baichuan2-7B 7,505,973,248, 13B 13,896,668,160
    "qwen": ("qwen2", _qwen),  # Qwen-7B 7,721,324,544
    "deepseek": ("glm4_moe", _deepseek),  # DeepSeek-MoE-16B 16,375,728,128
    "chatglm": ("glm", _chatglm),  # GLM-4-9B 9,399,951,360, ChatGLM3-6B 6,243,584,000
    "exaone": ("llama", _exaone),  # EXAONE-3.5-7.8B 7,818,448,896
    "mimo": ("qwen2", _mimo),  # MiMo-7B 7.83 B with its draft layer of 0.21 B
    "stablelm_epoch": ("stablelm", _stablelm_epoch),  # StableLM-3B-4E1T 2,795,443,200
}
"""The type that transformers has, and the fields as its class reads them; beside it the counts of published checkpoints."""
