"""Folders that cannot be measured are refused in one sentence; special tokens and tokenizers are those of the folder."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.small_models import small_fields

from workbench.compress.folder import folder_layers, has_same_tokens, prefix_ids, require_context, token_ids
from workbench.compress.spec import QuantizationSpec
from workbench.compress.torch_model import TorchModel
from workbench.core.errors import InvalidSpec, NotAModel
from workbench.measuring.text import require_disjoint, windows_of
from workbench.understanding.loading import loaded

pytestmark = pytest.mark.filterwarnings("ignore")
TEXT = "def f(value):\n    return value + 1\n" * 40


def _tokenizer(*, n_words, bos):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=n_words, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import AutoConfig, AutoModelForCausalLM

    place = tmp_path_factory.mktemp("model")
    fields = small_fields("qwen3") | {"vocab_size": 300}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)).save_pretrained(place)
    _tokenizer(n_words=280, bos=True).save_pretrained(place)
    return place


@pytest.fixture
def changed(folder, tmp_path):
    place = tmp_path / "changed"
    shutil.copytree(folder, place)
    return place


def _edit_config(place, **values):
    file = place / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _nan(place):
    tensors = load_file(place / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


def _missing(place):
    tensors = load_file(place / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


def _as_pickle(content):
    def change(place):
        torch.save(content, place / "pytorch_model.bin")
        (place / "model.safetensors").unlink()

    return change


def _whole_numbers(place):
    tensors = load_file(place / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(tensors | {name: tensors[name].to(torch.int64)}, place / "model.safetensors", metadata={"format": "pt"})


def _cut(place):
    file = place / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_nan, r"weights that are NaN or infinite: 1 in model\.layers\.0\.mlp\.up_proj\.weight"),
        (_missing, r"lacks 1 tensors .*up_proj"),
        (_cut, r"model\.safetensors has 2,000 bytes"),
        (
            lambda place: _edit_config(place, intermediate_size=128),
            r"changed has .*_proj\.weight in the shape \((96, 64|64, 96)\), and its config\.json asks for",
        ),
        (lambda place: (place / "model.safetensors").unlink(), "changed has no weights"),
        (lambda place: (place / "model.safetensors").rename(place / "model.gguf"), r"has its weights as model\.gguf"),
        (_as_pickle([1, 2]), r"pytorch_model\.bin of changed is not a table of tensors"),
        (_as_pickle({"model": {}}), r"pytorch_model\.bin of changed is not a table of tensors"),
        (_whole_numbers, r"stores model\.layers\.0\.mlp\.up_proj\.weight as I64"),
    ],
)
def test_weights_that_cannot_be_used_are_named_in_one_sentence(damage, says, changed):
    damage(changed)
    with pytest.raises(NotAModel, match=says) as refused:
        loaded(str(changed), dtype=torch.float32)
    assert "\n" not in refused.value.cause


def test_a_folder_without_a_tokenizer_or_with_a_larger_one_is_refused(changed):
    _edit_config(changed, vocab_size=200)
    with pytest.raises(NotAModel, match=r"gives token 2\d\d; the embedding has 200 rows"):
        token_ids(str(changed), TEXT)
    bare = changed.with_name("bare")
    shutil.copytree(changed, bare)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink(missing_ok=True)
    with pytest.raises(NotAModel, match="tokenizer"):
        token_ids(str(bare), TEXT)


def test_each_window_begins_with_what_the_tokenizer_sets_before_a_text(folder):
    prefix, ids = prefix_ids(str(folder)), token_ids(str(folder), TEXT)
    assert prefix.tolist() == [0]
    assert 0 not in ids
    windows = windows_of(ids, n=4, length=9, what="test", prefix=prefix)
    assert windows.shape == (4, 9)
    assert (windows[:, 0] == 0).all()
    assert np.array_equal(windows[0, 1:], ids[:8])


def test_a_candidate_with_another_tokenizer_is_not_compared_per_token(folder, tmp_path):
    _tokenizer(n_words=270, bos=True).save_pretrained(tmp_path / "other")
    assert not has_same_tokens(str(folder), str(tmp_path / "other"), TEXT)
    (tmp_path / "none").mkdir()
    for same in (folder, tmp_path / "none"):
        assert has_same_tokens(str(folder), str(same), TEXT)


def test_windows_longer_than_the_context_are_refused(folder):
    require_context(str(folder), 256)
    with pytest.raises(InvalidSpec, match=r"257 tokens are longer .*256"):
        require_context(str(folder), 257)


def test_calibration_text_that_overlaps_a_test_window_is_refused():
    text = np.random.default_rng(0).integers(0, 100, 4000)
    calibration, test = text[:2000].reshape(10, 200), text[2000:].reshape(10, 200)
    require_disjoint(calibration, test)
    copied = test.copy()
    copied[3, 50:120] = calibration[5, 100:170]
    with pytest.raises(InvalidSpec, match="1 of 10 test windows"):
        require_disjoint(calibration, copied)


def test_a_configuration_with_values_of_a_wrong_type_is_refused_in_a_sentence(changed):
    _edit_config(changed, hidden_size="many")
    require_context(str(changed), 64)
    for opened in (
        lambda: folder_layers(str(changed)),
        lambda: loaded(str(changed), dtype=torch.float32),
        lambda: TorchModel(QuantizationSpec(model=str(changed), random_weights=True), "fp32", device="cpu"),
    ):
        with pytest.raises(NotAModel, match=r"changed cannot be (made|loaded): .*hidden_size.*expected int"):
            opened()


def test_a_file_is_no_folder_of_a_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NotAModel, match="is a file, not the folder of a model"):
        token_ids(str(tmp_path / "config.json"), "x")
