"""Bytes of quantized checkpoints by arithmetic, against published totals and what compressed-tensors itself makes."""

import copy

import pytest

torch = pytest.importorskip("torch")

from workbench.core.errors import UnknownStorage  # noqa: E402
from workbench.understanding.construct import construct  # noqa: E402
from workbench.understanding.parameters import linears  # noqa: E402
from workbench.understanding.stored import stored_weights  # noqa: E402

LLAMA_70B = {
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
GPT_OSS = {
    "model_type": "gpt_oss",
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            *("model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head")
        ],
    },
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
}
SMALL = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "tie_word_embeddings": False,
}


def stored(fields, **quantization):
    fields = {**fields, "quantization_config": quantization} if quantization else fields
    made = construct(fields)
    return stored_weights(fields, linears(made), made)


@pytest.mark.parametrize(("layers", "experts", "published"), [(36, 128, 65_248_815_744), (24, 32, 13_761_264_768)])
def test_gpt_oss_has_its_published_bytes(layers, experts, published):
    # metadata.total_size of model.safetensors.index.json of openai/gpt-oss-120b and -20b
    weights = stored({**GPT_OSS, "num_hidden_layers": layers, "num_local_experts": experts})
    assert (weights.n_bytes, weights.precision) == (published, "mxfp4")


def test_deepseek_v3_with_its_draft_layer_has_the_bytes_of_its_files():
    # The files of deepseek-ai/DeepSeek-V3 have 688,586,727,753 bytes, about 12 MB of it their headers; they hold the
    # draft layer (a layer with experts, its own embeddings and head, and a matrix of 2 x hidden by hidden in BF16).
    hidden, vocabulary = 7168, 129280
    one_layer = (
        stored({**DEEPSEEK_V3, "num_hidden_layers": 5}).n_bytes
        - stored({**DEEPSEEK_V3, "num_hidden_layers": 4}).n_bytes
    )
    draft = one_layer + 2 * (2 * vocabulary * hidden + 2 * hidden * hidden + 3 * hidden)
    weights = stored(DEEPSEEK_V3)
    assert weights.n_bytes + draft == pytest.approx(688_586_727_753, rel=2e-5)
    assert weights.precision == "fp8"


def test_awq_of_a_70b_is_packed_weights_zeros_and_scales():
    # For each group of 128: 64 bytes of weights, half a byte of zero point, 2 bytes of scale; the rest in 16 bits.
    matrices = 80 * (8192 * (2 * 8192 + 2 * 1024) + 3 * 8192 * 28672)
    plain = 2 * 128256 * 8192 + (2 * 80 + 1) * 8192
    weights = stored(LLAMA_70B, quant_method="awq", bits=4, group_size=128, zero_point=True, version="gemm")
    assert weights.n_bytes == matrices // 128 * 133 // 2 + 2 * plain
    assert weights.n_bytes == 39_767_785_472
    assert weights.precision == "w4a16-asym"


def test_gptq_stores_the_group_of_each_input_too():
    quantization = {"bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    awq = stored(LLAMA_70B, quant_method="awq", **quantization)
    gptq = stored(LLAMA_70B, quant_method="gptq", **quantization)
    assert gptq.n_bytes - awq.n_bytes == 80 * 4 * (6 * 8192 + 28672)
    assert gptq.precision == "w4a16"


GROUP = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}
INT8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
FP8 = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}
PER_TOKEN = {"num_bits": 8, "symmetric": True, "strategy": "token", "dynamic": True}
FP4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
LOCAL = {**FP4, "dynamic": "local"}


@pytest.mark.parametrize(
    ("form", "weights", "inputs", "precision"),
    [
        ("pack-quantized", GROUP, None, "w4a16"),
        ("pack-quantized", {**GROUP, "symmetric": False}, None, "w4a16-asym"),
        ("pack-quantized", INT8, None, "w8a16"),
        ("int-quantized", INT8, {**PER_TOKEN, "type": "int"}, "w8a8"),
        ("float-quantized", FP8, {**PER_TOKEN, "type": "float"}, "fp8"),
        ("float-quantized", {**FP8, "strategy": "tensor"}, {**FP8, "strategy": "tensor", "dynamic": False}, "fp8"),
        ("float-quantized", {**FP8, "strategy": "block", "block_structure": [128, 128]}, None, "fp8"),
        ("nvfp4-pack-quantized", {**FP4, "scale_dtype": "torch.float8_e4m3fn"}, None, "nvfp4a16"),
        ("nvfp4-pack-quantized", {**FP4, "scale_dtype": "torch.float8_e4m3fn"}, LOCAL, "nvfp4"),
    ],
)
def test_compressed_tensors_makes_as_many_bytes(form, weights, inputs, precision):
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "format": form}
    quantization = {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head", "re:.*layers.0.*down_proj"],
    }
    model = construct(SMALL, device="cpu").model
    settings = QuantizationConfig(**copy.deepcopy({k: v for k, v in quantization.items() if k != "quant_method"}))
    apply_quantization_config(model, settings)
    ModelCompressor.from_pretrained_model(model).compress_model(model)
    made = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    weights_stored = stored(SMALL, **quantization)
    assert weights_stored.n_bytes == made
    assert weights_stored.precision == precision


def test_experts_are_found_by_the_names_of_single_ones():
    fields = {
        "model_type": "qwen3_moe",
        "hidden_size": 256,
        "moe_intermediate_size": 128,
        "num_experts": 4,
        "num_hidden_layers": 1,
        "vocab_size": 512,
    }
    group = {"targets": ["re:.*experts.\\d+.(gate|up|down)_proj"], "weights": FP8, "format": "float-quantized"}
    whole = stored(
        fields, quant_method="compressed-tensors", format="float-quantized", config_groups={"g": group}, ignore=[]
    )
    plain = 2 * sum(p.numel() for p in construct(fields).model.parameters())
    experts, scales = 4 * 3 * 256 * 128, 4 * (2 * 128 + 256)
    assert plain - whole.n_bytes == experts - 2 * scales


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "aqlm"},
        {"quant_method": "gptq", "bits": "four"},
        {"quant_method": "bitsandbytes"},
        {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"},
        {"quant_method": "compressed-tensors", "format": "marlin-24", "config_groups": {"g": {"weights": GROUP}}},
        {"quant_method": "fp8", "weight_block_size": "128"},
    ],
)
def test_what_is_not_known_is_refused_and_not_guessed(quantization):
    with pytest.raises(UnknownStorage) as caught:
        stored(SMALL, **quantization)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("quantization", "precision", "bits"),
    [
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, "nvfp4", 4.5),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["lm_head"]}, "fp8", 8),
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}, "fp8", 8),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, None, 4.13),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, None, 8),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}, "w4a16", 4.16),
    ],
)
def test_other_methods_have_their_bits_for_each_weight(quantization, precision, bits):
    whole = stored(LLAMA_70B, **quantization)
    n = 80 * (8192 * (2 * 8192 + 2 * 1024) + 3 * 8192 * 28672)
    assert (whole.n_bytes - 2 * (2 * 128256 * 8192 + 161 * 8192)) * 8 / n == pytest.approx(bits, rel=0.003)
    assert whole.precision == precision


def test_experts_of_another_type_have_their_own_bits():
    fields = {**DEEPSEEK_V3, "num_hidden_layers": 4}
    eight, four = stored(fields), stored({**fields, "expert_dtype": "fp4"})
    experts = 256 * 3 * 7168 * 2048
    assert eight.n_bytes - four.n_bytes == experts + 4 * experts // 128**2 - experts // 2 - experts // 32
    assert four.precision == "mxfp4"


def test_layers_of_their_own_method_are_found_by_name():
    names = [f"backbone.layers.{i}.mlp.{m}_proj" for i in range(2) for m in ("gate", "up", "down")]
    layers = {name: {"quant_algo": "NVFP4"} for name in names}
    whole = stored(SMALL, quant_method="modelopt", quant_algo="MIXED_PRECISION", quantized_layers=layers)
    n, plain = 2 * 3 * 256 * 384, stored(SMALL, quant_method="fp8", modules_to_not_convert=["layers.0", "mlp"])
    assert whole.precision == "nvfp4"
    assert whole.n_bytes == 2 * (2 * 512 * 256 + 5 * 256 + 2 * 3 * 256 * 256) + n * 9 // 16 + 6 * 8
    assert plain.precision == "fp8"
    layers["backbone.layers.7.mlp.up_proj"] = {"quant_algo": "NVFP4"}
    with pytest.raises(UnknownStorage, match=r"layers\.7"):
        stored(SMALL, quant_method="modelopt", quant_algo="MIXED_PRECISION", quantized_layers=layers)


def test_a_quantization_of_nothing_is_refused():
    with pytest.raises(UnknownStorage, match="no matrix"):
        stored(SMALL, quant_method="fp8", modules_to_not_convert=["model", "lm_head"])
