"""Makes one compressed-tensors checkpoint. Runs in llm-compressor's own environment, so it imports nothing of ours.

    python checkpoint_maker.py REQUEST.json

The request (JSON): ``model``, ``out`` (a new folder), ``algorithm``, ``config_groups``, ``ignore`` (modules kept as
they are), ``ids`` (a file of token ids, (samples, tokens), or null) and ``seed``. Lines on standard output are JSON
objects: ``{"step", "done", "total"}`` on the way.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def tell(step: str, done: float, total: float) -> None:
    """One line of progress for the process that waits."""
    sys.stdout.write(json.dumps({"step": step, "done": done, "total": total}) + "\n")
    sys.stdout.flush()


def modifiers(request: dict[str, Any]) -> list[Any]:
    """The steps of llm-compressor's recipe."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    groups, ignore, algorithm = request["config_groups"], request["ignore"], request["algorithm"]
    if algorithm == "awq":
        return [AWQModifier(), QuantizationModifier(config_groups=groups, ignore=ignore)]
    if algorithm == "rtn":
        return [QuantizationModifier(config_groups=groups, ignore=ignore)]
    # GPTQ is for integers; formats of floats in a mixed plan are rounded.
    integers = {n: with_best_settings(g) for n, g in groups.items() if g["weights"]["type"] == "int"}
    floats = {n: g for n, g in groups.items() if n not in integers}
    steps: list[Any] = [SmoothQuantModifier(smoothing_strength=0.8)] if algorithm == "smoothquant-gptq" else []
    if integers:
        others = [target for g in floats.values() for target in g["targets"]]
        steps.append(GPTQModifier(config_groups=integers, ignore=[*ignore, *others]))
    if floats:
        others = [target for g in integers.values() for target in g["targets"]]
        steps.append(QuantizationModifier(config_groups=floats, ignore=[*ignore, *others]))
    return steps


def with_best_settings(group: dict[str, Any]) -> dict[str, Any]:
    """Grouped weights are quantized in the order of their weight in the loss, with scales of least square error."""
    better = {"observer": "mse"} | ({"actorder": "weight"} if group["weights"]["strategy"] == "group" else {})
    return group | {"weights": group["weights"] | better}


def report_progress(n_steps: int) -> None:
    """Tell each pass over the calibration samples; ``tqdm`` is what llm-compressor's pipeline reports through."""
    from llmcompressor.pipelines.sequential import pipeline

    def passes(items: Any, total: int | None = None, desc: str = "", **_: Any) -> Iterator[Any]:
        number, _slash, rest = desc.partition("/")
        layers = int(rest.split(")")[0])
        for i, item in enumerate(items):
            half = 0.5 * ("Propagating" in desc)
            tell(desc, (int(number.strip("(")) - 1 + half + 0.5 * i / (total or 1)) / layers * n_steps, n_steps)
            yield item

    pipeline.tqdm = passes


def main() -> None:
    """Read the request and write the checkpoint."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)
    request = json.loads(Path(sys.argv[1]).read_text())
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from loguru import logger
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logger.remove()
    torch.manual_seed(request["seed"])
    if not torch.cuda.is_available():
        # Without an accelerator it fails with "Cannot access accelerator device when none is available".
        IntermediatesCache.pin_memory = lambda *_, **__: None
    tell("loading the model", 0, 100)
    model = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.bfloat16)
    calibration: dict[str, Any] = {}
    if request["ids"]:
        ids = np.load(request["ids"])
        rows = [{"input_ids": row.tolist(), "attention_mask": [1] * ids.shape[1]} for row in ids]
        calibration = {
            "dataset": Dataset.from_list(rows),
            "num_calibration_samples": len(rows),
            "max_seq_length": ids.shape[1],
            "shuffle_calibration_samples": False,
        }
        report_progress(95)
    oneshot(model=model, recipe=modifiers(request), **calibration)
    tell("writing", 97, 100)
    out = Path(request["out"])
    model.save_pretrained(out, save_compressed=True)
    AutoTokenizer.from_pretrained(request["model"]).save_pretrained(out)
    tell("written", 100, 100)


if __name__ == "__main__":
    main()
