import json

import pytest

from workbench.catalog.models import catalog_models, is_only_a_shape, model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import NotAModel


def test_the_reference_model_is_counted_from_its_config():
    spec = model_spec_from(str(REFERENCE_MODEL))
    training = json.loads((REFERENCE_MODEL / "training.json").read_text())
    assert spec.n_params == training["n_parameters"]
    assert spec.head_dim == 64


def test_head_dim_has_its_own_field(tmp_path):
    config = json.loads((REFERENCE_MODEL / "config.json").read_text()) | {"head_dim": 32}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_spec_from(str(tmp_path)).kv_elements_per_token == 2 * 5 * 2 * 32


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        ("llama-3.1-70b-shape", "meta-llama/Meta-Llama-3.1-70B"),
        ("qwen3-14b-shape", "Qwen/Qwen3-14B"),
        ("qwen3-30b-a3b-shape", "Qwen/Qwen3-30B-A3B"),
    ],
)
def test_a_shape_has_the_counts_of_the_catalogue(shape, row):
    counted, listed = model_spec_from(f"data/models/{shape}"), catalog_models()[row]
    assert (counted.n_params, counted.n_active_params) == (listed.n_params, listed.n_active_params)
    assert counted.kv_elements_per_token == listed.kv_elements_per_token
    assert counted.has_latent_cache == listed.has_latent_cache
    if listed.products:  # the row keeps the shape as it was understood
        assert counted.kv_layers == listed.kv_layers
        assert (counted.experts, counted.products) == (listed.experts, listed.products)


@pytest.mark.parametrize("content", [None, "not json", "[]"])
def test_a_folder_that_is_no_model_says_so(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(NotAModel) as caught:
        model_spec_from(str(tmp_path))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("file", "said", "remedy"),
    [
        ("adapter_config.json", "holds an adapter without its model", "the folder of the model"),
        ("model_index.json", "a pipeline of diffusers", "a language model"),
        (
            "snapshots/0123abcd/config.json",
            "neither a config.json nor a GGUF file",
            "snapshots/0123abcd, which has one",
        ),
        ("models--org--tiny/snapshots/0123/config.json", "neither a config.json", "snapshots/0123, which has one"),
    ],
)
def test_a_folder_that_holds_something_else_says_what(tmp_path, file, said, remedy):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("{}")
    with pytest.raises(NotAModel, match=said) as refused:
        model_spec_from(str(tmp_path))
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("file", "said", "remedy"),
    [
        ("net.onnx", "is a graph", "workbench edge"),
        ("model.safetensors", "is a file of weights", "folder that holds it"),
    ],
)
def test_a_file_of_another_kind_says_what_takes_it(tmp_path, file, said, remedy):
    (tmp_path / file).write_bytes(b"\x08\x09")
    with pytest.raises(NotAModel, match=said) as refused:
        model_spec_from(str(tmp_path / file))
    assert remedy in refused.value.remedy


def test_a_folder_that_is_closed_to_the_user_is_refused(tmp_path, monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("workbench.catalog.models.os.scandir", closed)
    with pytest.raises(NotAModel, match="is not open to the user"):
        model_spec_from(str(tmp_path))


@pytest.mark.parametrize(
    "file", ["pytorch_model.bin", "model.gguf", "model.safetensors.index.json", "tf_model.h5", "model.safetensors"]
)
def test_a_folder_with_weights_of_any_format_is_not_taken_for_a_shape(tmp_path, file):
    (tmp_path / "config.json").write_text("{}")
    assert is_only_a_shape(str(tmp_path))
    (tmp_path / file).symlink_to("nowhere")
    assert not is_only_a_shape(str(tmp_path))


def test_a_path_that_does_not_exist_is_no_hub_id():
    with pytest.raises(NotAModel, match="There is no model"):
        model_spec_from("/nowhere/at/all")
