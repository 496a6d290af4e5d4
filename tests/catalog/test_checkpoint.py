"""Bytes of a checkpoint come from the headers of its files."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from workbench.catalog import folder_model
from workbench.catalog.checkpoint import checkpoint_files
from workbench.catalog.config_file import quantization_of, without_quantization
from workbench.catalog.folder_model import model_of_folder
from workbench.catalog.model_spec import ModelSpec, StoredWeights
from workbench.core.errors import NotAModel, UnknownStorage

SPEC = ModelSpec(
    name="",
    architecture="llama",
    n_layers=2,
    hidden=8,
    n_heads=2,
    n_kv_heads=2,
    head_dim=4,
    intermediate=16,
    vocab_size=10,
    max_context_tokens=16,
    tied_embeddings=True,
    n_params=80 + 2 * 64,
    n_active_params=208,
    kv_elements_per_token=32,
    kv_layers=(),
    source="",
)


def tensors(n_layers=2, dtype=np.float16):
    layers = {f"model.layers.{i}.mlp.up_proj.weight": np.zeros((8, 8), dtype) for i in range(n_layers)}
    return {"model.embed_tokens.weight": np.zeros((10, 8), dtype), **layers}


@pytest.fixture
def asked(monkeypatch):
    """Answer for any configuration with one model, or refuse quantization of an unknown kind."""

    def answer(fields):
        if fields.get("quantization_config", {}).get("quant_method") == "odd":
            raise UnknownStorage("The method 'odd' is not known.", remedy="x")
        return SPEC

    monkeypatch.setattr(folder_model, "asked_model", answer)


def test_headers_give_bytes_and_parameters(tmp_path):
    save_file(tensors(), tmp_path / "model.safetensors")
    files = checkpoint_files(tmp_path, n_layers=2)
    assert (files.n_bytes, files.n_params, files.n_left_out) == (416, 208, 0)


def test_layers_behind_the_model_are_drafts_and_left_out(tmp_path):
    save_file({**tensors(3), "mtp.fc.weight": np.zeros((4, 4), np.float16)}, tmp_path / "model.safetensors")
    files = checkpoint_files(tmp_path, n_layers=2)
    assert (files.n_params, files.n_left_out) == (208, 80)


def test_an_index_names_the_files_that_count(tmp_path, asked):
    parts = tensors()
    index = {"metadata": {"total_size": 416}, "weight_map": {name: f"{i}.safetensors" for i, name in enumerate(parts)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert checkpoint_files(tmp_path, n_layers=2).n_bytes == 416  # no file is there yet: what the index says
    save_file({"copy": np.zeros(1000)}, tmp_path / "consolidated.safetensors")
    for i, (name, tensor) in enumerate(parts.items()):
        if i == 2:
            with pytest.raises(NotAModel, match=r"2\.safetensors is missing"):
                checkpoint_files(tmp_path, n_layers=2)
        save_file({name: tensor}, tmp_path / f"{i}.safetensors")
    assert checkpoint_files(tmp_path, n_layers=2).n_params == 208
    assert model_of_folder(tmp_path, {"model_type": "llama"}) == SPEC


def test_a_tensor_that_two_files_hold_with_other_values_is_refused(tmp_path):
    name = "model.embed_tokens.weight"
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {name: "0.safetensors", "x": "1.safetensors"}})
    )
    save_file({name: np.zeros((10, 8), np.float16)}, tmp_path / "0.safetensors")
    save_file({name: np.zeros((10, 8), np.float16), "x": np.ones(1)}, tmp_path / "1.safetensors")
    assert checkpoint_files(tmp_path, n_layers=2).n_params == 81  # the same values are one tensor
    save_file({name: np.ones((10, 8), np.float16), "x": np.ones(1)}, tmp_path / "1.safetensors")
    with pytest.raises(NotAModel, match=r"0\.safetensors and 1\.safetensors in .* hold model\.embed_tokens\.weight"):
        checkpoint_files(tmp_path, n_layers=2)


def test_a_folder_of_other_weights_is_refused(tmp_path, asked):
    save_file(tensors(1), tmp_path / "model.safetensors")
    with pytest.raises(NotAModel, match="144 parameters"):
        model_of_folder(tmp_path, {"model_type": "llama"})


def test_files_of_a_method_that_is_not_known_have_their_own_bytes(tmp_path, asked):
    fields = {"model_type": "llama", "quantization_config": {"quant_method": "odd"}}
    with pytest.raises(UnknownStorage):
        model_of_folder(tmp_path, fields)
    save_file(tensors(dtype=np.int8), tmp_path / "model.safetensors")
    assert model_of_folder(tmp_path, fields).stored == StoredWeights(method="odd", precision=None, n_bytes=208)


def test_weights_packed_as_mlx_packs_them_are_known_to_be_quantized(tmp_path):
    fields = {"model_type": "llama", "quantization": {"bits": 4, "group_size": 64}}
    assert quantization_of(fields) == {"quant_method": "mlx", "bits": 4, "group_size": 64}
    assert without_quantization(fields) == {"model_type": "llama"}


def test_eight_bit_files_without_a_word_of_it_are_no_sixteen_bits(tmp_path, asked):
    save_file(tensors(dtype=np.int8), tmp_path / "model.safetensors")
    assert model_of_folder(tmp_path, {"model_type": "llama"}).stored.n_bytes == 208


def header(content):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x02",
        struct.pack("<Q", 10**15) + b"{}",
        header(b"not json"),
        header([1]),
        header({"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 100]}}),
        header({"a": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}}),
        header({"a": {"dtype": "F16", "shape": "x", "data_offsets": [0, 8]}}),
        header({"a": 3}),
    ],
)
def test_a_damaged_file_is_one_readable_error(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(NotAModel) as caught:
        checkpoint_files(tmp_path, n_layers=2)
    assert caught.value.remedy


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    with pytest.raises(NotAModel, match="pointer of Git LFS"):
        checkpoint_files(tmp_path, n_layers=2)
