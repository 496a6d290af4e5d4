"""Small configurations of the classes of transformers, made from the defaults of each class."""

SMALL = {
    "hidden_size": 64, "d_model": 64, "n_embd": 64, "num_hidden_layers": 2, "n_layer": 2, "num_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "num_heads": 4, "num_key_value_heads": 2, "num_kv_heads": 2, "head_dim": 16,
    "intermediate_size": 96, "ffn_dim": 96, "ffn_hidden_size": 96, "expert_ffn_hidden_size": 32, "n_inner": 96,
    "vocab_size": 128, "max_position_embeddings": 256, "n_positions": 256, "n_ctx": 256,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2,
    "moe_k": 2, "moe_topk": 2, "top_k_experts": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_dense_layers": 1,
    "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16, "qk_head_dim": 24,
    "sliding_window": 8, "window_size": 8, "attention_chunk_size": 8, "layer_types": None,
    "mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_chunk_size": 8, "mamba_d_ssm": 128,
    "mamba_dt_rank": 4, "state_size": 8, "time_step_rank": 4, "ssm_state_size": 8, "mamba_num_heads": 8, "mamba_head_dim": 16,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "conv_kernel": 4, "chunk_size": 8, "n_groups": 1,
    "word_embed_proj_dim": 64, "rotary_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""Fields of these names, wherever a class has them."""
MLA = {"head_dim": 8, "num_key_value_heads": 4}
FOUR = {"num_hidden_layers": 4}
OWN = {
    **dict.fromkeys(("afmoe", "cohere2", "cohere2_moe", "exaone4", "falcon_h1", "jamba", "llama4_text", "qwen3_next",
                     "minimax", "granitemoehybrid", "bamba", "lfm2", "nemotron_h", "olmo_hybrid"), FOUR),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "axk1", "axk2", "glm4_moe_lite", "glm_moe_dsa", "minicpm3", "youtu"), MLA),
    "bamba": FOUR | {"attn_layer_indices": [1, 3]},
    "falcon": {"multi_query": True, "new_decoder_architecture": False, "alibi": False},
    "gemma3_text": {"num_hidden_layers": 6},
    "gemma4_text": {"num_hidden_layers": 6, "enable_moe_block": True, "global_head_dim": 32, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 128},
    "gemma3n_text": {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 128, "num_hidden_layers": 6,
                     "num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 3, "activation_sparsity_pattern": [0.0] * 6, "laurel_rank": 4, "intermediate_size": 96},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": FOUR | {"layer_types": ["mamba", "attention", "mamba", "attention"], "shared_intermediate_size": 32},
    "jamba": FOUR | {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": FOUR | {"full_attn_idxs": [1, 3], "block_auto_adjust_ff_dim": False},
    "kimi_linear": FOUR | {"num_key_value_heads": 4, "layer_types": ["linear_attention", "full_attention"] * 2, "linear_head_dim": 16,
                    "linear_num_heads": 4},
    "lfm2_moe": FOUR | {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": MLA | {"num_layers": 2, "num_hidden_layers": 4, "zero_expert_num": 2},
    "minimax": FOUR | {"layer_types": ["linear_attention", "full_attention"] * 2},
    "nemotron_h": FOUR | {"layers_block_type": ["mamba", "attention", "moe", "mamba"], "mamba_num_heads": 8, "moe_shared_expert_intermediate_size": 32},
    "nemotron": {"num_key_value_heads": 2},
    "recurrent_gemma": {"num_hidden_layers": 3},  # the third one has attention
    "qwen3_next": FOUR | {"full_attention_interval": 2},
    **dict.fromkeys(("qwen3_5_text", "qwen3_5_moe_text", "qwen4_exp_text"), FOUR | {"full_attention_interval": 2}),
    "dbrx": {"n_layers": 2, "n_heads": 4, "max_seq_len": 256, "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
             "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 1}},
    "doge": {"sliding_window": None},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4},
    "mamba2": {"num_heads": 8, "head_dim": 16, "expand": 2},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "mamba_headdim": 16, "n_mamba_heads": 8},
}  # fmt: skip
"""Fields of one class that are made to fit the others."""


def small_fields(model_type: str) -> dict[str, object]:
    """Return the fields of a small model of a type: the defaults of its class, with small sizes."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    known = CONFIG_MAPPING[model_type]
    names = {*known.__annotations__, *(n for c in known.__mro__ for n in getattr(c, "__annotations__", {}))}
    aliased = set(getattr(known, "attribute_map", {}))
    chosen = {k: v for k, v in SMALL.items() if k in names and k not in aliased}
    return {"model_type": model_type, **chosen, **OWN.get(model_type, {})}
