"""Makes one compressed-tensors checkpoint. Runs in llm-compressor's own environment, so it imports nothing of the workbench.

    python checkpoint_maker.py REQUEST.json

The request (JSON) has the fields of ``Request`` and ``out``, the new folder. Lines on standard output are JSON
objects: ``{"step", "done", "total"}`` on the way.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

T = TypeVar("T")
Group: TypeAlias = Mapping[str, Any]
"""A group of a compressed-tensors recipe: ``targets``, ``weights``, and what else it has."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request for one checkpoint, as JSON carries it."""

    model: str
    algorithm: str
    config_groups: Mapping[str, Group]
    ignore: Sequence[str]
    """Modules that stay as they are."""
    ids: str | None
    """File of token ids, (samples, tokens), for calibration."""
    seed: int


def report(step: str, done: float, total: float) -> None:
    """Write one line of progress for the process that waits."""
    sys.stdout.write(json.dumps({"step": step, "done": done, "total": total}) + "\n")
    sys.stdout.flush()


def modifiers(request: Request) -> list[object]:
    """Return the steps of llm-compressor's recipe."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    groups, ignore, algorithm = request.config_groups, request.ignore, request.algorithm
    if algorithm == "awq":
        return [AWQModifier(), QuantizationModifier(config_groups=groups, ignore=ignore)]
    if algorithm == "rtn":
        return [QuantizationModifier(config_groups=groups, ignore=ignore)]
    # GPTQ is for integers; formats of floats in a mixed plan are rounded.
    integers = {n: with_best_settings(g) for n, g in groups.items() if g["weights"]["type"] == "int"}
    floats = {n: g for n, g in groups.items() if n not in integers}
    steps: list[object] = [SmoothQuantModifier(smoothing_strength=0.8)] if algorithm == "smoothquant-gptq" else []
    if integers:
        others = [target for g in floats.values() for target in g["targets"]]
        steps.append(GPTQModifier(config_groups=integers, ignore=[*ignore, *others]))
    if floats:
        others = [target for g in integers.values() for target in g["targets"]]
        steps.append(QuantizationModifier(config_groups=floats, ignore=[*ignore, *others]))
    return steps


def with_best_settings(group: Group) -> Group:
    """Return a group whose scales have the least square error; grouped weights are quantized in the order of their weight in the loss."""
    better = {"observer": "mse"} | ({"actorder": "weight"} if group["weights"]["strategy"] == "group" else {})
    return {**group, "weights": group["weights"] | better}


def report_progress(n_steps: int) -> None:
    """Report each pass over the calibration samples, through the ``tqdm`` of llm-compressor's pipeline."""
    from llmcompressor.pipelines.sequential import pipeline

    def passes(items: Iterable[T], total: int | None = None, desc: str = "", **_: object) -> Iterator[T]:
        number, _slash, rest = desc.partition("/")
        layers = int(rest.split(")")[0])
        for i, item in enumerate(items):
            half = 0.5 * ("Propagating" in desc)
            report(desc, (int(number.strip("(")) - 1 + half + 0.5 * i / (total or 1)) / layers * n_steps, n_steps)
            yield item

    pipeline.tqdm = passes


def forget_image_modules() -> None:
    """Forget the old names of transformers' image processors, which ask for torchvision.

    Loading experts lists every module of transformers, and stops at the first that cannot be imported.
    """
    for name in [
        n for n in sys.modules if n.startswith("transformers.") and "image_processing" in n and n.endswith("_fast")
    ]:
        del sys.modules[name]


def main() -> None:
    """Read the request and write the checkpoint."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)
    fields = json.loads(Path(sys.argv[1]).read_text())
    out = Path(fields.pop("out"))
    request = Request(**fields)
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modeling.moe.linearize import load_quantizable_moe
    from llmcompressor.pipelines.cache import IntermediatesCache
    from loguru import logger
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logger.remove()
    torch.manual_seed(request.seed)
    if not torch.cuda.is_available():
        # Without an accelerator it fails with "Cannot access accelerator device when none is available".
        IntermediatesCache.pin_memory = lambda *_, **__: None
    report("loading the model", 0, 100)
    forget_image_modules()
    with load_quantizable_moe():  # experts that are one tensor become linear layers
        model = AutoModelForCausalLM.from_pretrained(request.model, dtype=torch.bfloat16)
    calibration: dict[str, object] = {}
    if request.ids:
        ids = np.load(request.ids)
        rows = [{"input_ids": row.tolist(), "attention_mask": [1] * ids.shape[1]} for row in ids]
        calibration = {
            "dataset": Dataset.from_list(rows),
            "num_calibration_samples": len(rows),
            "max_seq_length": ids.shape[1],
            "shuffle_calibration_samples": False,
        }
        report_progress(95)
    oneshot(model=model, recipe=modifiers(request), **calibration)
    report("writing", 97, 100)
    model.save_pretrained(out, save_compressed=True)
    AutoTokenizer.from_pretrained(request.model).save_pretrained(out)
    report("written", 100, 100)


if __name__ == "__main__":
    main()
