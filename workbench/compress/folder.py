"""What a model folder tells without its weights: token ids of a text, and the linear layers."""

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from workbench.catalog.formats import LayerGroup, layer_groups


@cache
def _tokenizer(place: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(place)


def token_ids(place: str, text: str) -> npt.NDArray[np.int64]:
    """Return all token ids of a text: (tokens,)."""
    ids = _tokenizer(place)(text, add_special_tokens=False, verbose=False)["input_ids"]
    return np.asarray(ids, dtype=np.int64)


SAMPLE = "The quick brown fox jumps over 13 lazy dogs."


def prefix_ids(place: str) -> npt.NDArray[np.int64]:
    """Return the special tokens that the tokenizer sets before a text, such as BOS: (tokens,); empty where it sets none."""
    tokenizer = _tokenizer(place)
    plain, whole = (tokenizer(SAMPLE, add_special_tokens=special)["input_ids"] for special in (False, True))
    starts = [i for i in range(len(whole) - len(plain) + 1) if whole[i : i + len(plain)] == plain]
    return np.asarray(whole[: starts[0]] if starts else [], dtype=np.int64)


def token_text(place: str, ids: npt.NDArray[np.int64]) -> str:
    """Return the text of token ids: (tokens,)."""
    text: str = _tokenizer(place).decode(ids.tolist(), clean_up_tokenization_spaces=False)
    return text


def linear_groups(place: str) -> list[LayerGroup]:
    """Return the groups of linear layers of a model folder."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(place))
    return layer_groups(name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
