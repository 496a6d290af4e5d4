"""A causal language model read from its folder, or refused in one sentence; what is missing is never drawn at random."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from workbench.core.errors import NotAModel, NotAvailable, first_line

PLAIN_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@contextmanager
def refused_as_folder(name: str) -> Iterator[None]:
    """Turn what transformers or a file format says against a folder into ``NotAModel``; lack of memory stays what it is."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each file format and each architecture has errors of its own
        raise NotAModel(
            f"{name} cannot be loaded: {first_line(error)}.",
            remedy="Make or copy the folder again, or name another one.",
        ) from error


def loaded(place: str, *, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model of a folder in evaluation mode, with finite weights.

    Raises:
        NotAModel: As ``read_model``, or weights are not finite.
        NotAvailable: As ``read_model``.
    """
    model = read_model(place, dtype=dtype)
    _require_finite(model, Path(place).name)
    return model


def read_model(place: str, *, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model of a folder in evaluation mode.

    Raises:
        NotAModel: It cannot be read, or tensors are missing or have another shape.
        NotAvailable: It is a checkpoint with quantized experts, which transformers cannot read.
    """
    transformers_logging.disable_progress_bar()
    name = Path(place).name
    with refused_as_folder(name):
        model, info = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, output_loading_info=True)
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
