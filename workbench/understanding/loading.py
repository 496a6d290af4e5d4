"""A causal language model read from its folder, or refused in one sentence; what is missing is never drawn at random."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AutoHfQuantizer
from transformers.utils import logging as transformers_logging

from workbench.catalog.checkpoint import BUFFERS
from workbench.catalog.config_file import quantization_method, quantization_of, read_config
from workbench.core.errors import NotAModel, NotAvailable, WorkbenchError, first_line

PACKED_EXPERT = re.compile(r"(^|[._])experts\.\d+\..*weight_(scale|packed)$")
OTHER_ANSWERS = re.compile(r"For(\w*Classification|QuestionAnswering|MultipleChoice|MaskedLM)|Reward|Embedding")
"""Architectures whose head answers something else than the next token."""
ADAPTER = "adapter_config.json"
PARAMETER = re.compile(r"(^|[._])(weight|bias)$")
LAYER = re.compile(r"(?P<layer>.*?\.\d+)\.(?P<rest>.+)")
CODES = frozenset({"I8", "U8", "I16", "U16", "I32", "U32", "F4", "F6_E2M3", "F6_E3M2"})
"""Types of stored tensors that are no weights without scales."""
PLAIN_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@contextmanager
def refused_as_folder(name: str) -> Iterator[None]:
    """Turn what transformers or a file format says against a folder into ``NotAModel``; lack of memory and what is said in one sentence already stay as they are."""
    try:
        yield
    except (torch.OutOfMemoryError, WorkbenchError):
        raise
    except Exception as error:  # each file format and each architecture has errors of its own
        is_code = isinstance(error, UnpicklingError)
        reason = (
            "a file of weights holds other things than tensors, which could run code" if is_code else first_line(error)
        )
        raise NotAModel(
            f"{name} cannot be loaded: {reason}.",
            remedy="Make or copy the folder again, or name another one.",
        ) from error


def loaded(place: str, *, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model of a folder in evaluation mode, with finite weights: a text may not reach one that is not until the model is in use.

    Raises:
        NotAModel: It cannot be read, tensors are missing or have another shape, or weights are not finite.
        NotAvailable: It is a checkpoint with quantized experts, which transformers cannot read.
    """
    transformers_logging.disable_progress_bar()
    name = Path(place).name
    if packed_experts(place):
        raise NotAvailable(
            f"The quantized experts of {name} are read by `workbench evaluate` alone: transformers keeps all experts in one tensor.",
            remedy="Serve the checkpoint with vLLM, or name the model that it was made from.",
        )
    if (Path(place) / ADAPTER).is_file():
        raise NotAModel(
            f"{name} holds an adapter, which is loaded or left out depending on what else is installed.",
            remedy="Merge it into its model (`merge_and_unload` of peft), or name the folder of the model alone.",
        )
    with refused_as_folder(name):
        config = AutoConfig.from_pretrained(place)
        _require_causal_class(config, name)
        _require_readable_quantization(place)
        _require_floats(place)
        model, info = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, output_loading_info=True)
    _require_all_layers(model, info.get("unexpected_keys", ()), name)
    _require_ties(model, name)
    for what, keys in (("lacks", "missing_keys"), ("has in another shape", "mismatched_keys")):
        wrong = sorted(map(str, info.get(keys, ())))
        if wrong:
            raise NotAModel(
                f"{name} {what} {len(wrong)} tensors of its architecture, first {wrong[0]}.",
                remedy="Make or copy the folder again.",
            )
    _require_finite(model, name)
    return model.eval()


def _require_causal_class(config: PretrainedConfig, name: str) -> None:
    """Raise ``NotAModel`` for a model of another kind, of which transformers would load the part that it can continue texts with."""
    of = (config.architectures or [config.model_type])[0]
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or OTHER_ANSWERS.search(of):
        raise NotAModel(
            f"{name} is a {of}, which does not continue a text token by token.",
            remedy="Name a causal language model; `workbench edge` measures text encoders and graphs.",
        )


def _require_readable_quantization(place: str) -> None:
    """Raise ``NotAvailable`` for a method that transformers knows and this environment lacks a package or a device for."""
    folder = Path(place)
    stored = quantization_of(read_config(folder / "config.json")) if (folder / "config.json").is_file() else None
    if stored is None or not _is_known(stored):
        return
    try:
        quantizer = AutoHfQuantizer.from_config(deepcopy(dict(stored)), pre_quantized=True)
        quantizer.validate_environment(device_map=None, weights_only=True)
    except Exception as error:  # each method has errors of its own
        raise NotAvailable(
            f"{folder.name} is quantized by {quantization_method(stored)}, and transformers cannot read that here: {first_line(error)}.",
            remedy="Provide what it asks for, serve the checkpoint with vLLM, or name the model that it was made from.",
        ) from error


def _is_known(stored: Mapping[str, object]) -> bool:
    """Return whether transformers has a reader for a quantization."""
    name = quantization_method(stored)
    return name == "bitsandbytes" or name in AUTO_QUANTIZATION_CONFIG_MAPPING


def _require_ties(model: PreTrainedModel, name: str) -> None:
    """Raise ``NotAModel`` where files hold two tensors with other values that the configuration takes for one: engines choose otherwise."""
    for tied in sorted(model.get_expanded_tied_weights_keys(all_submodels=True).keys() - model.all_tied_weights_keys):
        raise NotAModel(
            f"The files of {name} hold a {tied} of its own, which its config.json ties to the embedding.",
            remedy="Write `tie_word_embeddings: false` into its config.json, or fetch the one that belongs to the files.",
        )


def _require_all_layers(model: PreTrainedModel, unread: Iterable[str], name: str) -> None:
    """Raise ``NotAModel`` where files hold a further layer like those of the model, or more in a layer than its class reads; draft layers have other tensors."""

    def by_layer(keys: Iterable[str]) -> dict[str, set[str]]:
        layers: dict[str, set[str]] = {}
        for key in keys:
            if match := LAYER.match(key):
                layers.setdefault(match["layer"], set()).add(match["rest"])
        return layers

    own = by_layer(model.state_dict())
    for layer, rest in by_layer(unread).items():
        if rest in own.values():
            raise NotAModel(
                f"The files of {name} hold {layer}, which its config.json does not count.",
                remedy="Correct the number of layers in its config.json.",
            )
        if layer in own and (more := sorted(r for r in rest if PARAMETER.search(r) and not BUFFERS.search(r))):
            raise NotAModel(
                f"The files of {name} hold {layer}.{more[0]}, which {type(model).__name__} does not read.",
                remedy="Fetch the config.json that belongs to the files.",
            )


def _require_floats(place: str) -> None:
    """Raise ``NotAModel`` where weights are stored in few bits and nothing says how: transformers would take their codes for the numbers."""
    folder = Path(place)
    if not (folder / "config.json").is_file():
        return
    quantization = quantization_of(read_config(folder / "config.json"))
    if quantization is not None and _is_known(quantization):
        return
    lacking = "its config.json does not say how its weights are quantized"
    remedy = "Fetch the config.json that belongs to the files, or the model that they were made from."
    if quantization is not None:
        lacking = f"transformers does not know the method {quantization_method(quantization)!r}"
        remedy = "Serve it with an engine that knows the method, or name the model that it was made from."
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="np") as tensors:
            keys = [key for key in tensors.keys() if not BUFFERS.search(key)]  # noqa: SIM118 - the file is no mapping
            has_scales = any("scale" in key for key in keys)
            for key in keys:
                form = tensors.get_slice(key).get_dtype()
                if form in CODES or (form.startswith("F8") and has_scales):
                    raise NotAModel(f"{folder.name} stores {key} as {form}, and {lacking}.", remedy=remedy)


def packed_experts(place: str) -> bool:
    """Return whether a folder is a checkpoint of compressed-tensors with quantized experts."""
    try:
        config = json.loads((Path(place) / "config.json").read_text(encoding="utf-8"))
        if (config.get("quantization_config") or {}).get("quant_method") != "compressed-tensors":
            return False
        for file in Path(place).glob("*.safetensors"):
            with safe_open(file, framework="np") as tensors:
                if any(PACKED_EXPERT.search(key) for key in tensors.keys()):  # noqa: SIM118 - the file is no mapping
                    return True
    except (OSError, ValueError, AttributeError, SafetensorError):
        return False  # loading says what is wrong with the folder
    return False


def _require_finite(model: torch.nn.Module, name: str) -> None:
    for key, tensor in model.named_parameters():
        if tensor.dtype not in PLAIN_FLOATS or bool(torch.isfinite(tensor.detach().sum(dtype=torch.float32))):
            continue
        count = int((~torch.isfinite(tensor)).sum())
        if count:  # else only the sum overflows
            raise NotAModel(
                f"{name} has weights that are NaN or infinite: {count:,} in {key}.",
                remedy="Make or copy the folder again.",
            )
