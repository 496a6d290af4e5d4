"""A model folder of a given shape with random weights: ``python -m workbench.engines.random_model SHAPE TARGET``."""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

SEED = 0


def write_random_model(shape: Path, target: Path, *, tokenizer: Path) -> None:
    """Fill a folder with config, bfloat16 weights and a tokenizer that knows every id of the vocabulary.

    ``shape`` is a folder with ``config.json``; the ``tokenizer`` (a ``tokenizer.json``) is filled up with invented
    words.
    """
    config = AutoConfig.from_pretrained(shape)
    (target / "tokenizer.json").write_text(json.dumps(filled_up(json.loads(tokenizer.read_text()), config.vocab_size)))
    (target / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    torch.manual_seed(SEED)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(target, max_shard_size="4GB")


def filled_up(data: dict[str, object], n_ids: int) -> dict[str, object]:
    """Return a tokenizer with an invented word for every id that has none."""
    model = data["model"]
    assert isinstance(model, dict)
    words: dict[str, int] = model["vocab"]
    added = {t["id"] for t in data.get("added_tokens", [])}  # type: ignore[attr-defined]
    used = set(words.values()) | added
    for number in range(n_ids):
        if number not in used:
            words[f"Ġ#{number}"] = number
    return data


def main() -> None:
    """Read the three paths and write the model."""
    shape, target, tokenizer = map(Path, sys.argv[1:4])
    write_random_model(shape, target, tokenizer=tokenizer)


if __name__ == "__main__":
    main()
