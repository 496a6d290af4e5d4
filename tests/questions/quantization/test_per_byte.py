"""A candidate with another tokenizer is compared by bits per byte of the same text, and by nothing that is per token."""

import math

import numpy as np
import pytest
import torch
from support.small_models import small_fields

from workbench.catalog.paths import HELD_OUT_TEXT
from workbench.measuring.envelope import run
from workbench.questions.quantization.evaluation.findings import comparison, evaluation_verdict
from workbench.questions.quantization.evaluation.rows import CandidateResult, per_byte_of
from workbench.questions.quantization.evaluation.spec import EvaluationSpec

pytestmark = pytest.mark.filterwarnings("ignore")
N_WINDOWS, WINDOW_TOKENS = 3, 64


def _folder(place, *, n_words, bos, seed):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=n_words, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([HELD_OUT_TEXT.read_text(encoding="utf-8")[:20_000]], trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>").save_pretrained(place)
    fields = small_fields("llama") | {"vocab_size": n_words}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)).eval()
    model.save_pretrained(place)
    return model, tokenizer


def _own_bits(model, tokenizer, *, bos):
    """Return the bits per byte of each stretch: seven eighths of 128 characters, scored after the rest."""
    text = HELD_OUT_TEXT.read_text(encoding="utf-8")
    size = 2 * WINDOW_TOKENS
    bits = []
    for start in (int(s) for s in np.linspace(0, len(text) - size, N_WINDOWS)):
        part = text[start : start + size]
        coded = tokenizer.encode(part, add_special_tokens=False)
        ids = torch.tensor([0] * bos + coded.ids)
        with torch.no_grad():
            logp = torch.log_softmax(model(input_ids=ids[None]).logits[0].double(), -1)
        total, first = 0.0, None
        for i, (begin, _) in enumerate(coded.offsets):
            if begin >= size // 8:
                first = begin if first is None else first
                total -= float(logp[i + bos - 1, ids[i + bos]])
        bits.append(total / math.log(2) / len(part[first:].encode()))
    return bits


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    first, second = (
        _folder(place / name, n_words=n, bos=bos, seed=n) for name, n, bos in (("one", 300, True), ("two", 420, False))
    )
    spec = EvaluationSpec(
        model=str(place / "one"),
        candidates=(str(place / "two"),),
        n_windows=N_WINDOWS,
        window_tokens=WINDOW_TOKENS,
        n_passkeys=0,
        n_completions=0,
        device="cpu",
    )
    return run(spec), _own_bits(*first, bos=True), _own_bits(*second, bos=False)


def test_bits_per_byte_are_those_of_an_own_loop_and_paired(evaluated):
    result, original, candidate = evaluated
    (row,) = per_byte_of(result)
    assert row.original_bits_per_byte == pytest.approx(np.mean(original), rel=1e-4)
    assert row.bits_per_byte == pytest.approx(np.mean(candidate), rel=1e-4)
    change = np.asarray(candidate) - np.asarray(original)
    assert row.change_bits_per_byte.value == pytest.approx(change.mean(), abs=1e-4)
    assert row.change_bits_per_byte.low <= change.mean() <= row.change_bits_per_byte.high


def test_nothing_is_compared_per_token_and_the_run_is_shown(evaluated):
    result = evaluated[0]
    assert not result.rows(CandidateResult)
    assert "bits" in evaluation_verdict(result).headline
    _, lines = comparison(result)
    assert any("another tokenizer" in line[1] for line in lines)
