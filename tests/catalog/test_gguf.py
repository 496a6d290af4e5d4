"""Models of GGUF files, which the gguf package writes."""

import gguf
import numpy as np
import pytest

from workbench.catalog.gguf_header import TYPES, gguf_header
from workbench.catalog.models import model_spec_from
from workbench.core.errors import NotAModel

HIDDEN, HEADS, VOCABULARY = 64, 4, 96


def write(path, arch="llama", *, layers=2, settings=(), tensors=None, kind=gguf.GGMLQuantizationType.Q8_0, **split):
    writer = gguf.GGUFWriter(str(path), arch, **split)
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(128)
    writer.add_head_count(HEADS)
    writer.add_token_list([f"word {i}" for i in range(VOCABULARY)])
    for name, value, add in settings:
        getattr(writer, add)(f"{arch}.{name}", value)
    for name, shape in (tensors or plain_tensors(layers)).items():
        quantized = gguf.quants.quantize(np.zeros(shape, np.float32), kind)
        writer.add_tensor(name, quantized, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def plain_tensors(layers, kv=32, attention=lambda i: True):
    found = {"token_embd.weight": (VOCABULARY, HIDDEN), "output.weight": (VOCABULARY, HIDDEN)}
    for i in range(layers):
        if attention(i):
            found |= {f"blk.{i}.attn_q.weight": (64, 64), f"blk.{i}.attn_output.weight": (64, 64)}
            found |= {f"blk.{i}.attn_k.weight": (kv, 64), f"blk.{i}.attn_v.weight": (kv, 64)}
        found |= {
            f"blk.{i}.ffn_gate.weight": (128, 64),
            f"blk.{i}.ffn_up.weight": (128, 64),
            f"blk.{i}.ffn_down.weight": (64, 128),
        }
    return found


def number(name, value):
    return name, value, "add_uint32"


KV = number("attention.head_count_kv", 2)


def test_a_plain_model(tmp_path):
    spec = model_spec_from(str(write(tmp_path / "m.gguf", settings=[KV])))
    layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128
    assert spec.n_params == 2 * VOCABULARY * HIDDEN + 2 * layer
    assert spec.stored.n_bytes == spec.n_params * 34 // 32
    assert spec.stored.method == "gguf Q8_0"
    assert (spec.n_layers, spec.n_kv_heads, spec.head_dim, spec.vocab_size) == (2, 2, 16, VOCABULARY)
    assert spec.kv_elements_per_token == 2 * 2 * 2 * 16
    assert spec.max_context_tokens == 2048
    assert {(p.role, p.rows, p.columns, p.n_layers) for p in spec.products} == {
        *(("qkv", 128, 64, 2), ("o_proj", 64, 64, 2), ("gate_up", 256, 64, 2), ("down_proj", 64, 128, 2))
    }


def test_a_folder_with_one_is_that_model(tmp_path):
    write(tmp_path / "m.gguf", settings=[KV])
    write(tmp_path / "mmproj-m.gguf", settings=[KV])
    assert model_spec_from(str(tmp_path)).name == "m"
    write(tmp_path / "other.gguf", settings=[KV])
    with pytest.raises(NotAModel, match=r"m\.gguf, other\.gguf"):
        model_spec_from(str(tmp_path))


def test_a_split_model_is_all_its_files(tmp_path):
    whole = model_spec_from(str(write(tmp_path / "whole.gguf", settings=[KV])))
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "m.gguf", settings=[KV], split_max_tensors=4)
    parts = sorted((tmp_path / "parts").iterdir())
    assert len(parts) > 2
    split = model_spec_from(str(tmp_path / "parts"))
    assert (split.n_params, split.stored, split.kv_layers) == (whole.n_params, whole.stored, whole.kv_layers)
    parts[1].unlink()
    with pytest.raises(NotAModel, match="is missing"):
        model_spec_from(str(tmp_path / "parts"))


@pytest.mark.parametrize(
    ("arch", "n_layers", "settings", "n_local"),
    [
        ("gemma3", 12, [number("attention.sliding_window", 1024)], 10),
        ("gpt-oss", 4, [number("attention.sliding_window", 128)], 2),
        ("phi3", 4, [number("attention.sliding_window", 2048)], 0),
        ("gemma3", 4, [number("attention.sliding_window", 8), number("attention.sliding_window_pattern", 2)], 2),
        ("mimo2", 3, [number("attention.sliding_window", 8),
                      ("attention.sliding_window_pattern", [True, True, False], "add_array")], 2),
    ],
)  # fmt: skip
def test_windows_are_those_of_llama_cpp(tmp_path, arch, n_layers, settings, n_local):
    spec = model_spec_from(str(write(tmp_path / "m.gguf", arch, layers=n_layers, settings=[KV, *settings])))
    assert sum(g.n_layers for g in spec.kv_layers if g.window_tokens) == n_local
    assert sum(g.n_layers for g in spec.kv_layers) == n_layers


def test_a_window_of_unknown_layers_is_noted_and_not_used(tmp_path):
    spec = model_spec_from(
        str(write(tmp_path / "m.gguf", "newest", settings=[KV, number("attention.sliding_window", 64)]))
    )
    assert [g.window_tokens for g in spec.kv_layers] == [None]
    assert "window of 64" in spec.notes[0]


def test_experts_that_a_token_does_not_go_to_are_not_active(tmp_path):
    tensors = plain_tensors(2)
    tensors |= {f"blk.1.ffn_{name}_exps.weight": (8, 32, 64) for name in ("gate", "up")}
    tensors |= {"blk.1.ffn_down_exps.weight": (8, 64, 32), "blk.1.ffn_gate_inp.weight": (8, 64)}
    settings = [KV, number("expert_count", 8), number("expert_used_count", 2), number("expert_feed_forward_length", 32)]
    spec = model_spec_from(str(write(tmp_path / "m.gguf", "qwen2moe", settings=settings, tensors=tensors)))
    assert (spec.experts.n_experts, spec.experts.n_per_token, spec.experts.n_layers) == (8, 2, 1)
    assert spec.n_params - spec.n_active_params == 6 * 3 * 32 * 64


def test_mla_keeps_one_latent(tmp_path):
    settings = [
        number("attention.head_count_kv", 1),
        number("attention.kv_lora_rank", 512),
        number("rope.dimension_count", 64),
    ]
    tensors = {
        "token_embd.weight": (96, 64),
        "blk.0.attn_kv_a_mqa.weight": (576, 64),
        "blk.0.attn_output.weight": (64, 64),
    }
    spec = model_spec_from(str(write(tmp_path / "m.gguf", "deepseek2", layers=1, settings=settings, tensors=tensors)))
    assert spec.has_latent_cache
    assert [(g.elements_per_token, g.n_heads) for g in spec.kv_layers] == [(576, 1)]


def test_states_of_recurrent_layers_are_constant(tmp_path):
    # Mamba: (kernel - 1) x (inner + 2 x groups x state) and state x inner numbers of 32 bits in each layer.
    tensors = plain_tensors(4, attention=lambda i: i == 3) | {f"blk.{i}.ssm_in.weight": (64, 64) for i in range(3)}
    settings = [("attention.head_count_kv", [0, 0, 0, 2], "add_array"), number("ssm.conv_kernel", 4), number("ssm.inner_size", 128),
                number("ssm.state_size", 16), number("ssm.group_count", 1)]  # fmt: skip
    spec = model_spec_from(
        str(write(tmp_path / "m.gguf", "granitehybrid", layers=4, settings=settings, tensors=tensors))
    )
    assert spec.state_bytes == 4 * 3 * (3 * (128 + 32) + 16 * 128)
    assert [g.n_layers for g in spec.kv_layers] == [1]


def test_sizes_of_types_are_those_of_the_gguf_package():
    own = {number: (weights, n_bytes) for number, (_, weights, n_bytes) in TYPES.items()}
    assert own == {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert all(gguf.GGMLQuantizationType(number).name == name for number, (name, _, _) in TYPES.items())


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.05, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_one_readable_error(tmp_path, share):
    file = write(tmp_path / "m.gguf", settings=[KV])
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(NotAModel) as caught:
        model_spec_from(str(file))
    assert caught.value.remedy


def test_random_damage_never_escapes_as_another_error(tmp_path):
    file = write(tmp_path / "m.gguf", settings=[KV])
    content, generator = file.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        for at in generator.integers(4, 2000, size=3):
            damaged[at] = int(generator.integers(0, 256))
        file.write_bytes(damaged)
        try:
            gguf_header(file)
            model_spec_from(str(file))
        except NotAModel:
            pass
