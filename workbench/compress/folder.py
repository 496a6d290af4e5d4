"""What a model folder tells without its weights: token ids of a text, and the layers."""

from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from workbench.catalog.formats import LayerGroup, layer_groups
from workbench.compress.layers import Layers, plain_layers
from workbench.core.errors import InvalidSpec, NotAModel, NotAvailable, first_line
from workbench.engines.text import COPY_TOKENIZER, SAMPLE
from workbench.understanding.reading import CONTEXT_FIELDS

Ids = npt.NDArray[np.int64]


@cache
def _tokenizer(place: str) -> PreTrainedTokenizerBase:
    if Path(place).is_file():
        raise NotAModel(f"{place} is a file, not the folder of a model.", remedy="Name the folder that holds it.")
    if Path(place).is_dir() and not has_tokenizer(place):
        raise NotAModel(f"{Path(place).name} has no tokenizer that can read text.", remedy=COPY_TOKENIZER)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
    except Exception as error:  # each tokenizer's library has its own
        raise NotAModel(
            f"The tokenizer of {Path(place).name} cannot be read: {first_line(error)}.", remedy=COPY_TOKENIZER
        ) from error
    if len(set(tokenizer(SAMPLE, add_special_tokens=False)["input_ids"])) < 2:  # none, or the unknown one each time
        raise NotAModel(f"{Path(place).name} has no tokenizer that can read text.", remedy=COPY_TOKENIZER)
    return tokenizer


@cache
def _first_of(place: str, names: tuple[str, ...]) -> int | None:
    """Return the first positive number that the configuration has under one of several names; None where it has none."""
    with suppress(Exception):  # loading the model says what is wrong with its configuration
        config = AutoConfig.from_pretrained(place).get_text_config()
        return next((n for n in (getattr(config, name, None) for name in names) if isinstance(n, int) and n > 0), None)
    return None


def _within(ids: list[int], place: str) -> Ids:
    words = _first_of(place, ("vocab_size",))
    if words is not None and ids and max(ids) >= words:
        raise NotAModel(
            f"The tokenizer of {Path(place).name} gives token {max(ids)}; the embedding has {words} rows.",
            remedy="Use the tokenizer that the model was trained with.",
        )
    return np.asarray(ids, dtype=np.int64)


def token_ids(place: str, text: str) -> Ids:
    """Return all token ids of a text, without special tokens: (tokens,).

    Raises:
        NotAModel: there is no tokenizer, or one for a larger embedding.
    """
    return _within(_tokenizer(place)(text, add_special_tokens=False, verbose=False)["input_ids"], place)


def prefix_ids(place: str) -> Ids:
    """Return the special tokens that the tokenizer sets before a text, such as BOS: (tokens,); empty where it sets none."""
    tokenizer = _tokenizer(place)
    plain, whole = (tokenizer(SAMPLE, add_special_tokens=special)["input_ids"] for special in (False, True))
    if whole == plain or len(whole) < len(plain):
        return np.empty(0, dtype=np.int64)
    starts = [i for i in range(len(whole) - len(plain) + 1) if whole[i : i + len(plain)] == plain]
    return _within(whole[: starts[0]] if starts else [], place)


def prefix_text(place: str) -> str:
    """Return the special tokens before each text as the tokenizer writes them; empty where it sets none."""
    return "".join(str(_tokenizer(place).convert_ids_to_tokens(int(i))) for i in prefix_ids(place))


def require_context(place: str, n_tokens: int) -> None:
    """Raise ``InvalidSpec`` where a model was not made for so many tokens."""
    limit = _first_of(place, CONTEXT_FIELDS)
    if limit is not None and n_tokens > limit:
        raise InvalidSpec(
            f"Windows of {n_tokens:,} tokens are longer than the context of {Path(place).name}: {limit:,} tokens.",
            remedy="Use shorter windows.",
        )


def token_text(place: str, ids: Ids) -> str:
    """Return the text of token ids: (tokens,)."""
    text: str = _tokenizer(place).decode(ids.tolist(), clean_up_tokenization_spaces=False)
    return text


def has_same_tokens(place: str, other: str, text: str) -> bool:
    """Return whether another folder splits a text into the same tokens, so that tokens can be compared.

    A folder without a tokenizer is taken to use that of the original.
    """
    if not has_tokenizer(other):
        return True
    ours, theirs = (np.concatenate([prefix_ids(p), token_ids(p, text)]) for p in (place, other))
    return np.array_equal(ours, theirs)


def token_starts(place: str, text: str) -> tuple[Ids, list[int]]:
    """Return all token ids of a text, without special tokens, and the character that each begins at: (tokens,) each.

    Raises:
        NotAvailable: The tokenizer does not tell where its tokens begin.
    """
    tokenizer = _tokenizer(place)
    if not tokenizer.is_fast:
        raise NotAvailable(
            f"The tokenizer of {Path(place).name} does not tell where its tokens begin, so that it cannot be compared per byte.",
            remedy="Save it as tokenizer.json.",
        )
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return _within(coded["input_ids"], place), [begin for begin, _ in coded["offset_mapping"]]


def has_tokenizer(place: str) -> bool:
    """Return whether a folder has files of a tokenizer."""
    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer_config.json", "spiece.model")
    return any((Path(place) / name).is_file() for name in names)


def folder_layers(place: str) -> tuple[Layers, list[LayerGroup]]:
    """Return the layers of a model folder, on no device, and their groups."""
    try:
        config = AutoConfig.from_pretrained(place)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # each class of transformers has errors of its own
        raise NotAModel(
            f"The model of {Path(place).name} cannot be made: {first_line(error)}.", remedy="Correct its config.json."
        ) from error
    layers = plain_layers(model.eval())
    return layers, layer_groups(layers.linears)


def planned_layers(place: str) -> tuple[Layers, list[LayerGroup]]:
    """Return what ``folder_layers`` does; raises ``NotAvailable`` where a plan would not reach all experts."""
    layers, groups = folder_layers(place)
    layers.require_known_experts()
    return layers, groups


def linear_groups(place: str) -> list[LayerGroup]:
    """Return the groups of linear layers of a model folder that a plan names."""
    return planned_layers(place)[1]
