"""A causal language model read from its folder, or refused in one sentence; what is missing is never drawn at random."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from workbench.core.errors import NotAModel, NotAvailable

PLAIN_FLOATS = (torch.float32, torch.bfloat16, torch.float16)
SHOWN = 300  # characters of a library's message


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, or the name of the error where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:SHOWN] if lines else type(error).__name__


def loaded(place: str, *, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model of a folder in evaluation mode.

    Raises:
        NotAModel: it cannot be read, tensors are missing or have another shape, or weights are not finite.
        NotAvailable: it is a checkpoint with quantized experts, which transformers cannot read.
    """
    transformers_logging.disable_progress_bar()
    name = Path(place).name
    try:
        model, info = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, output_loading_info=True)
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        NotImplementedError,
        TypeError,
        AttributeError,
        ImportError,
    ) as error:
        raise NotAModel(
            f"{name} cannot be loaded: {first_line(error)}", remedy="Make or copy the folder again."
        ) from error
    except Exception as error:
        # safetensors raises an error of its own that has no other base class
        if type(error).__module__.partition(".")[0] not in {"safetensors", "safetensors_rust"}:
            raise
        raise NotAModel(f"{name} cannot be loaded: {first_line(error)}", remedy="Copy the folder again.") from error
    for what, keys in (("lacks", "missing_keys"), ("has in another shape", "mismatched_keys")):
        wrong = sorted(map(str, info.get(keys, ())))
        if wrong and all("experts" in key for key in wrong) and getattr(model.config, "quantization_config", None):
            raise NotAvailable(
                f"The quantized experts of {name} cannot be read by transformers, which keeps all experts in one tensor: "
                f"{len(wrong)} tensors would be drawn at random.",
                remedy="Serve the checkpoint with vLLM, and compare its answers there.",
            )
        if wrong:
            raise NotAModel(
                f"{name} {what} {len(wrong)} tensors of its architecture, first {wrong[0]}.",
                remedy="Make or copy the folder again.",
            )
    _require_finite(model, name)
    return model.eval()


def _require_finite(model: torch.nn.Module, name: str) -> None:
    for key, tensor in model.named_parameters():
        if tensor.dtype not in PLAIN_FLOATS or bool(torch.isfinite(tensor.detach().sum(dtype=torch.float32))):
            continue
        count = int((~torch.isfinite(tensor)).sum())
        if count:  # else only the sum overflows
            raise NotAModel(
                f"{name} has {count:,} weights that are NaN or infinite in {key}.",
                remedy="Make or copy the folder again.",
            )
