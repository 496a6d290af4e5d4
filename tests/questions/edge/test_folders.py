"""Folders on a small device: language models obey the options and are judged by PyTorch, encoders by their embeddings."""

import numpy as np
import pytest
import torch

from workbench.compress.rows import QuantizationSamples, VariantResult
from workbench.core.errors import InvalidSpec, NotAModel, NotAvailable
from workbench.measuring.envelope import Record
from workbench.questions.edge.measure import encoder, language
from workbench.questions.edge.measure.answers import all_outputs, similarity
from workbench.questions.edge.measure.lengths import MOST_TOKENS, masked_inputs, padded_batches
from workbench.questions.edge.spec import EdgeSpec

pytestmark = pytest.mark.filterwarnings("ignore")


def measured_as(run):
    def measured(spec, _folder):
        measured.spec = spec
        yield run(spec)

    return measured


def test_a_language_model_obeys_the_options_and_is_judged_by_pytorch(tmp_path, monkeypatch):
    from support import invented_run

    def run(spec):
        made = invented_run(methods=spec.methods)
        rounds = {m: {b: [0.001] * 32 * 5 for b in spec.batches} for m in spec.methods}
        samples = QuantizationSamples(decode_s=rounds)
        return type(made)(**{f: getattr(made, f) for f in made.__dataclass_fields__} | {"samples": samples})

    asked = measured_as(run)
    monkeypatch.setattr(language, "measured", asked)
    record = Record(tmp_path)
    spec = EdgeSpec(model="folder", techniques=("fp32", "int4"), batches=(2,), threads=3, rounds=6)
    list(language.measure_language(spec, record))
    assert asked.spec.methods == ("fp32", "onnx-fp32", "onnx-int4-g32")
    assert (asked.spec.batches, asked.spec.threads, asked.spec.rounds) == ((2,), 3, 6)
    by = {v.technique: v for v in record.rows}
    assert set(by) == {"fp32", "int4"}
    assert all(set(v.times) == {2} for v in by.values())
    agreement = next(
        r for r in run(asked.spec).rows(VariantResult) if r.method == "onnx-fp32"
    ).accuracy.top1_agreement_fraction
    assert by["fp32"].flips == round((1 - agreement.value) * by["fp32"].n)  # not 0 by definition


def test_a_language_model_without_a_graph_is_an_error_and_limits_are_refused(tmp_path, monkeypatch):
    from support import invented_run

    monkeypatch.setattr(language, "measured", measured_as(lambda _: invented_run(methods=("fp32",))))
    with pytest.raises(NotAvailable):
        list(language.measure_language(EdgeSpec(model="folder"), Record(tmp_path)))
    with pytest.raises(InvalidSpec, match="latency"):
        list(language.measure_language(EdgeSpec(model="folder", latency_ms=1.0), Record(tmp_path)))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_an_encoder_is_judged_by_the_embeddings_of_its_own_code(bert, tmp_path):
    subject = encoder.encoder_subject(EdgeSpec(model=str(bert), techniques=("fp32", "int8-dynamic", "int4")), tmp_path)
    assert set(subject.variants) == {"fp32", "int8-dynamic", "int4"}
    near = {
        t: similarity(all_outputs(v.runner, subject.inputs, None), subject.reference, are_embeddings=True)
        for t, v in subject.variants.items()
    }
    assert near["fp32"].difference_fraction < 1e-4
    assert near["fp32"].same_nearest_fraction == 1
    assert all(near["fp32"].difference_fraction < near[t].difference_fraction < 0.05 for t in ("int8-dynamic", "int4"))
    assert np.allclose(np.linalg.norm(subject.reference[0], axis=1), 1, atol=1e-5)


def test_an_encoder_embeds_padded_texts_as_its_own_class_embeds_them_unpadded(bert, tmp_path):
    from transformers import BertModel

    subject = encoder.encoder_subject(EdgeSpec(model=str(bert), techniques=("fp32",)), tmp_path)
    inputs = masked_inputs(subject.variants["fp32"].graphs[0], subject.varied, subject.source)
    assert len(set(inputs.lengths.tolist())) > 5
    assert inputs.longest <= MOST_TOKENS
    model, answer = BertModel.from_pretrained(bert).eval(), subject.variants["fp32"].runner
    for part in padded_batches(inputs.lengths, batch=16, padding="sorted"):
        for own, row in zip(answer.logits(inputs.of(part.rows, part.n_tokens)), part.rows, strict=True):
            ids = torch.from_numpy(inputs.examples["input_ids"][row : row + 1, : inputs.lengths[row]].copy())
            with torch.no_grad():
                mean = model(ids).last_hidden_state[0].mean(0).numpy()
            np.testing.assert_allclose(own, mean / np.linalg.norm(mean), atol=1e-5)


def test_what_is_no_text_encoder_is_refused(bert, tmp_path):
    with pytest.raises(InvalidSpec, match="no file of inputs"):
        encoder.encoder_subject(EdgeSpec(model=str(bert), data="x.npz"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAModel, match="cannot be opened"):
        encoder.encoder_subject(EdgeSpec(model=str(tmp_path / "empty")), tmp_path)
