"""A model folder of a given shape with random weights: ``python -m workbench.engines.random_model SHAPE TARGET``."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

SHARD_BYTES = 4_000_000_000
SEED = 0


def write_random_model(shape: Path, target: Path, *, tokenizer: Path) -> None:
    """Write config, bfloat16 weights and a tokenizer that knows every id of the vocabulary.

    Args:
        shape: Folder with ``config.json``.
        target: Folder to fill; it exists.
        tokenizer: A ``tokenizer.json``, filled up with invented words when the vocabulary is larger.
    """
    config = AutoConfig.from_pretrained(shape)
    config.dtype = "bfloat16"
    config.save_pretrained(target)
    (target / "tokenizer.json").write_text(json.dumps(filled_up(json.loads(tokenizer.read_text()), config.vocab_size)))
    (target / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    torch.manual_seed(SEED)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = AutoModelForCausalLM.from_config(config)
    finally:
        torch.set_default_dtype(default)
    shards: list[dict[str, torch.Tensor]] = [{}]
    size, total = 0, 0
    tied = bool(getattr(config, "tie_word_embeddings", False))
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        n_bytes = tensor.numel() * tensor.element_size()
        if size + n_bytes > SHARD_BYTES and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.cpu().contiguous()
        size, total = size + n_bytes, total + n_bytes
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    if len(shards) == 1:
        names = ["model.safetensors"]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, target / name, metadata={"format": "pt"})
    if len(shards) > 1:
        places = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (target / "model.safetensors.index.json").write_text(json.dumps(index))


def filled_up(data: dict[str, object], n_ids: int) -> dict[str, object]:
    """A tokenizer with an invented word for every id that has none."""
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
