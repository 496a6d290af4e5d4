"""A causal language model read from its folder, or refused in one sentence; what is missing is never drawn at random."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from transformers.utils import logging as transformers_logging

from workbench.catalog.checkpoint import BUFFERS
from workbench.core.errors import NotAModel, NotAvailable, WorkbenchError, first_line
from workbench.core.language import gettext
from workbench.understanding.folder_files import PARAMETER, require_readable_files

PACKED_EXPERT = re.compile(r"(^|[._])experts\.\d+\..*weight_(scale|packed)$")
OTHER_ANSWERS = re.compile(
    r"For(\w*Classification|QuestionAnswering|MultipleChoice|MaskedLM)|Reward|Embedding|(?<!LMHead)Model$"
)
"""Architectures whose head answers something else than the next token."""
LAYER = re.compile(r"(?P<layer>.*?\.\d+)\.(?P<rest>.+)")
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
            gettext("a file of weights holds other things than tensors, which could run code")
            if is_code
            else first_line(error)
        )
        raise NotAModel(
            gettext("{name} cannot be loaded: {reason}.").format(name=name, reason=reason),
            remedy=gettext("Make or copy the folder again, or name another one."),
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
            gettext(
                "The quantized experts of {name} are read by `workbench evaluate` alone: transformers keeps all experts in one tensor."
            ).format(name=name),
            remedy=gettext("Serve the checkpoint with vLLM, or name the model that it was made from."),
        )
    with refused_as_folder(name):
        _require_causal_class(AutoConfig.from_pretrained(place), name)
        require_readable_files(place)
        model, info = AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    _require_all_layers(model, info.get("unexpected_keys", ()), name)
    _require_ties(model, name)
    for key, found, expected in sorted(info.get("mismatched_keys", ())):
        raise NotAModel(
            gettext("{name} has {key} in the shape {found}, and its config.json asks for {expected}.").format(
                name=name, key=key, found=tuple(found), expected=tuple(expected)
            ),
            remedy=gettext("Fetch the config.json that belongs to the files, or make or copy the folder again."),
        )
    if lacking := sorted(map(str, info.get("missing_keys", ()))):
        raise NotAModel(
            gettext("{name} lacks {n} tensors of its architecture, first {lacking}.").format(
                name=name, n=len(lacking), lacking=lacking[0]
            ),
            remedy=gettext("Make or copy the folder again."),
        )
    _require_finite(model, name)
    return model.eval()


def _require_causal_class(config: PretrainedConfig, name: str) -> None:
    """Raise ``NotAModel`` for a model of another kind, of which transformers would load the part that it can continue texts with."""
    of = (config.architectures or [config.model_type])[0]
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or OTHER_ANSWERS.search(of):
        raise NotAModel(
            gettext("{name} is a {of}, which does not continue a text token by token.").format(name=name, of=of),
            remedy=gettext("Name a causal language model; `workbench edge` measures text encoders and graphs."),
        )


def _require_ties(model: PreTrainedModel, name: str) -> None:
    """Raise ``NotAModel`` where files hold two tensors with other values that the configuration takes for one: engines choose otherwise."""
    for tied in sorted(model.get_expanded_tied_weights_keys(all_submodels=True).keys() - model.all_tied_weights_keys):
        raise NotAModel(
            gettext(
                "The files of {name} hold a {tied} of its own, which its config.json ties to the embedding."
            ).format(name=name, tied=tied),
            remedy=gettext(
                "Write `tie_word_embeddings: false` into its config.json, or fetch the one that belongs to the files."
            ),
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
    lists = {layer.rpartition(".")[0] for layer in own}
    for layer, rest in by_layer(unread).items():
        if rest in own.values() and layer.rpartition(".")[0] in lists:
            raise NotAModel(
                gettext("The files of {name} hold {layer}, which its config.json does not count.").format(
                    name=name, layer=layer
                ),
                remedy=gettext("Correct the number of layers in its config.json."),
            )
        if layer in own and (more := sorted(r for r in rest if PARAMETER.search(r) and not BUFFERS.search(r))):
            raise NotAModel(
                gettext("The files of {name} hold {layer}.{more}, which {kind} does not read.").format(
                    name=name, layer=layer, more=more[0], kind=type(model).__name__
                ),
                remedy=gettext("Fetch the config.json that belongs to the files."),
            )


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
                gettext("{name} has weights that are NaN or infinite: {count} in {key}.").format(
                    name=name, count=f"{count:,}", key=key
                ),
                remedy=gettext("Make or copy the folder again."),
            )
