"""Checkpoints with quantized experts: read with the values, the zero points and the rounded inputs that their files state."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.small_models import small_fields

from workbench.compress.checkpoint_model import CheckpointModel
from workbench.compress.packed_experts import read_packed_experts
from workbench.core.errors import NotAModel, NotAvailable
from workbench.understanding.loading import loaded, packed_experts

pytestmark = pytest.mark.filterwarnings("ignore")
IDS = torch.arange(3, 35)[None] * 3 % 128
INT4 = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 32, "dynamic": False}
INT8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
PER_TOKEN = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
FORMS = {
    "int4 with zero points": ("pack-quantized", INT4, None),
    "int8 with rounded inputs": ("int-quantized", INT8, PER_TOKEN),
}


def _packed(values, *, along):
    """Return 4-bit numbers from 0 to 15, eight in each int32 along an axis."""
    values = np.moveaxis(values.astype(np.uint32), along, -1)
    words = (values.reshape(*values.shape[:-1], -1, 8) << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(words.view(np.int32), -1, along)))


def _stored(weight, form):
    """Return the tensors of a quantized matrix, (outputs, inputs), and the matrix that they mean."""
    w = weight.numpy()
    if form == "int8 with rounded inputs":
        scale = np.abs(w).max(1, keepdims=True) / 127.5
        q = np.clip(np.rint(w / scale), -128, 127)
        return {"weight": torch.from_numpy(q.astype(np.int8)), "weight_scale": torch.from_numpy(scale)}, q * scale
    parts = w.reshape(len(w), -1, 32)
    low, high = parts.min(-1, keepdims=True), parts.max(-1, keepdims=True)
    scale = (high - low) / 15
    zero = np.rint(-low / scale)
    q = np.clip(np.rint(parts / scale) + zero, 0, 15)
    tensors = {
        "weight_packed": _packed(q.reshape(w.shape), along=1),
        "weight_scale": torch.from_numpy(scale[..., 0].astype(np.float32)),
        "weight_zero_point": _packed(zero[..., 0], along=0),
        "weight_shape": torch.tensor(w.shape),
    }
    return tensors, ((q - zero) * scale).reshape(w.shape)


def _halves(name, tensor, model_type):
    """Return the matrices of one expert by the names that checkpoints have, as views: (outputs, inputs)."""
    if name == "down_proj":
        return {"down_proj": tensor.T if model_type == "gpt_oss" else tensor}
    if model_type == "gpt_oss":
        return {"gate_proj": tensor[:, ::2].T, "up_proj": tensor[:, 1::2].T}
    return dict(zip(("gate_proj", "up_proj"), tensor.chunk(2), strict=True))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Make a checkpoint with quantized experts, and the model that it means."""
    from transformers import AutoConfig, AutoModelForCausalLM

    def made(model_type, form):
        fields = small_fields(model_type) | {"num_hidden_layers": 1}
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        tensors, prefix = {}, "model.layers.0.block_sparse_moe" if model_type == "mixtral" else "model.layers.0.mlp"
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
                match = re.search(r"experts\.(?P<matrix>gate_up_proj|down_proj)(?P<bias>_bias)?$", name)
                if match is None:
                    tensors[name.replace("model.layers.0.mlp", prefix)] = parameter.detach().clone()
                    continue
                for i, matrix in enumerate(parameter):
                    if match["bias"]:
                        halves = (
                            {"down_proj": matrix}
                            if match["matrix"] == "down_proj"
                            else {"gate_proj": matrix[::2], "up_proj": matrix[1::2]}
                        )
                        tensors |= {f"{prefix}.experts.{i}.{k}.bias": v.detach().clone() for k, v in halves.items()}
                        continue
                    for key, part in _halves(match["matrix"], matrix, model_type).items():
                        own, value = _stored(part.detach().clone(), form)
                        part.copy_(torch.from_numpy(value))
                        tensors |= {f"{prefix}.experts.{i}.{key}.{k}": v for k, v in own.items()}
        place = tmp_path_factory.mktemp("checkpoint")
        packing, weights, inputs = FORMS[form]
        group = {
            "targets": [r"re:model\.layers\.0\.mlp\.experts\.\d+\..*"],
            "weights": weights,
            "input_activations": inputs,
            "format": packing,
        }
        config.architectures = [type(model).__name__]
        config.quantization_config = {
            "quant_method": "compressed-tensors", "format": packing, "quantization_status": "compressed",
            "config_groups": {"group_0": group}, "ignore": ["lm_head"],
        }  # fmt: skip
        (place / "config.json").write_text(json.dumps(config.to_dict(), default=str))
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, place / "model.safetensors", metadata={"format": "pt"}
        )
        return place, model

    return made


def _experts_with_rounded_inputs(model):
    """Round the inputs of both products of each expert of Mixtral to 8 bits a token, in the model's own loop over experts."""

    def rounded(x):
        scale = x.abs().amax(-1, keepdim=True) / 127.5
        return (x / scale).round().clamp(-128, 127) * scale

    def forward(self, hidden, numbers, weights):
        out = torch.zeros_like(hidden)
        for token in range(len(hidden)):
            for number, weight in zip(numbers[token], weights[token], strict=True):
                gate, up = (self.gate_up_proj[number] @ rounded(hidden[token])).chunk(2)
                out[token] += weight * (self.down_proj[number] @ rounded(torch.nn.functional.silu(gate) * up))
        return out

    experts = model.model.layers[0].mlp.experts
    experts.forward = forward.__get__(experts)


@torch.no_grad()
def _logits(model):
    return model(input_ids=IDS, use_cache=False).logits[0]


@pytest.mark.parametrize(
    ("model_type", "form"),
    [
        ("mixtral", "int4 with zero points"),
        ("gpt_oss", "int4 with zero points"),
        ("mixtral", "int8 with rounded inputs"),
    ],
)
def test_a_checkpoint_with_quantized_experts_answers_as_its_files_state(model_type, form, checkpoint):
    place, model = checkpoint(model_type, form)
    plain = expected = _logits(model)
    if form == "int8 with rounded inputs":
        _experts_with_rounded_inputs(model)
        expected = _logits(model)
    difference = (_logits(CheckpointModel(str(place), device="cpu", threads=1).model) - expected).abs()
    # An input in the middle of two steps goes to either side, so that single logits differ by a part of what rounding does.
    assert difference.mean() <= max(1e-5, 0.05 * float((plain - expected).abs().mean()))


def test_what_cannot_be_read_rightly_is_refused_in_one_sentence(checkpoint):
    place, _ = checkpoint("mixtral", "int8 with rounded inputs")
    assert packed_experts(str(place))
    with pytest.raises(NotAvailable, match="read by `workbench evaluate` alone"):
        loaded(str(place), dtype=torch.float32)
    config = json.loads((place / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["input_activations"] |= {
        "dynamic": False,
        "strategy": "tensor",
    }
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(NotAvailable, match="stored scales"):
        read_packed_experts(str(place), dtype=torch.float32)
    config["quantization_config"]["config_groups"]["group_0"]["input_activations"] = None
    (place / "config.json").write_text(json.dumps(config))
    tensors = load_file(place / "model.safetensors")
    del tensors["model.layers.0.block_sparse_moe.experts.1.up_proj.weight"]
    del tensors["model.layers.0.block_sparse_moe.experts.1.up_proj.weight_scale"]
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NotAModel, match=r"lacks matrices of model\.layers\.0\.mlp\.experts\.1"):
        read_packed_experts(str(place), dtype=torch.float32)
