"""A model serves texts with the tokenizer that it was trained with."""

import shutil

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import NotAModel
from workbench.engines.openai_server import open_engine
from workbench.engines.text import require_words_within

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def tokenizer():
    return Tokenizer.from_file(str(REFERENCE_MODEL / "tokenizer.json"))


@pytest.mark.parametrize("more", [0, 64])
def test_a_padded_embedding_and_added_tokens_beyond_it_are_fine(tokenizer, more):
    words = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"<{i}>" for i in range(70)])
    require_words_within(tokenizer, words + more)


def test_words_beyond_the_embedding_are_refused(tokenizer):
    words = tokenizer.get_vocab_size()
    with pytest.raises(NotAModel, match=rf"words up to token {words - 1}; .* embedding has {words - 1} rows"):
        require_words_within(tokenizer, words - 1)


def test_a_bos_beyond_the_embedding_is_refused(tokenizer):
    words = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", words)])
    with pytest.raises(NotAModel, match=f"up to token {words};"):
        require_words_within(tokenizer, words)


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_no_engine_starts_with_the_tokenizer_of_a_larger_model(tmp_path, kind):
    torch.manual_seed(0)
    sizes = {"vocab_size": 900, "hidden_size": 32, "num_hidden_layers": 1, "pad_token_id": 0}
    heads = {"num_attention_heads": 4, "intermediate_size": 32} if kind == "llama" else {}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **heads)).save_pretrained(tmp_path)
    shutil.copy(REFERENCE_MODEL / "tokenizer.json", tmp_path)
    with pytest.raises(NotAModel, match=r"words up to token \d+; the model's embedding has 900 rows"):
        open_engine("torch", tmp_path, device="cpu", dtype=None, random_weights=False)
