"""What the files of a folder say before they are read as a model: weights that transformers reads, in numbers or in a quantization that it knows."""

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import safe_open
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AutoHfQuantizer

from workbench.catalog.checkpoint import BUFFERS, INDEX, checkpoint_files
from workbench.catalog.config_file import MOST_LAYERS, quantization_method, quantization_of, read_config
from workbench.catalog.models import WEIGHT_FILES
from workbench.core.errors import NotAModel, NotAvailable, first_line
from workbench.core.language import gettext

READ = ("model.safetensors", INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files of weights that transformers looks for, in this order."""
PARAMETER = re.compile(r"(^|[._])(weight|bias)$")
CODES = frozenset({"I8", "U8", "I16", "U16", "I32", "U32", "F4", "F6_E2M3", "F6_E3M2"})
"""Types of stored tensors that are no weights without scales."""
NO_WEIGHTS = frozenset({"I64", "U64", "BOOL", "C64"})
"""Types that transformers would turn into floats."""


def require_readable_files(place: str) -> None:
    """Raise for a folder whose weights transformers would not read, or would read as something else.

    Raises:
        NotAModel: There are none, or only an adapter or other formats; or they are codes that nothing explains.
        NotAvailable: They are quantized by a method for which this environment lacks a package or a device.
    """
    folder = Path(place)
    if not folder.is_dir():
        return
    if (folder / "adapter_config.json").is_file():
        raise NotAModel(
            gettext(
                "{folder} holds an adapter, which is loaded or left out depending on what else is installed."
            ).format(folder=folder.name),
            remedy=gettext(
                "Merge it into its model (`merge_and_unload` of peft), or name the folder of the model alone."
            ),
        )
    _require_weights(folder)
    checkpoint_files(folder, n_layers=MOST_LAYERS)  # its headers are whole, and no tensor is there twice
    _require_readable_quantization(folder)
    _require_floats(folder)


def _require_weights(folder: Path) -> None:
    first = next((folder / name for name in READ if (folder / name).exists()), None)
    others = sorted(f.name for f in folder.iterdir() if f.suffix in WEIGHT_FILES)
    if first is None and others:
        raise NotAModel(
            gettext("{folder} has its weights as {file}, which are not read for measurements.").format(
                folder=folder.name, file=others[0]
            ),
            remedy=gettext("Fetch or make its *.safetensors files."),
        )
    if first is None:
        raise NotAModel(
            gettext("{folder} has no weights.").format(folder=folder.name),
            remedy=gettext("Fetch its *.safetensors files; --random-weights measures the speed of its shape alone."),
        )
    if first.suffix == ".bin":
        try:
            content = torch.load(first, map_location="meta", weights_only=True)
        except UnpicklingError:
            raise
        except Exception as error:  # a file that is cut off has several
            raise NotAModel(
                gettext("{first} of {folder} is damaged: {error}.").format(
                    first=first.name, folder=folder.name, error=first_line(error)
                ),
                remedy=gettext("Fetch the file again."),
            ) from error
        if not isinstance(content, Mapping) or not all(isinstance(t, torch.Tensor) for t in content.values()):
            raise NotAModel(
                gettext("{first} of {folder} is not a table of tensors by name.").format(
                    first=first.name, folder=folder.name
                ),
                remedy=gettext("Save the model with `save_pretrained`."),
            )


def _require_readable_quantization(folder: Path) -> None:
    """Raise ``NotAvailable`` for a method that transformers knows and this environment lacks a package or a device for."""
    stored = quantization_of(read_config(folder / "config.json")) if (folder / "config.json").is_file() else None
    if stored is None or not _is_known(stored):
        return
    try:
        quantizer = AutoHfQuantizer.from_config(deepcopy(dict(stored)), pre_quantized=True)
        quantizer.validate_environment(device_map=None, weights_only=True)
    except Exception as error:  # each method has errors of its own
        raise NotAvailable(
            gettext("{folder} is quantized by {method}, and transformers cannot read that here: {error}.").format(
                folder=folder.name, method=quantization_method(stored), error=first_line(error)
            ),
            remedy=gettext(
                "Provide what it asks for, serve the checkpoint with vLLM, or name the model that it was made from."
            ),
        ) from error


def _is_known(stored: Mapping[str, object]) -> bool:
    """Return whether transformers has a reader for a quantization."""
    name = quantization_method(stored)
    return name == "bitsandbytes" or name in AUTO_QUANTIZATION_CONFIG_MAPPING


def _require_floats(folder: Path) -> None:
    """Raise ``NotAModel`` where weights are stored in few bits and nothing says how: transformers would take their codes for the numbers."""
    if not (folder / "config.json").is_file():
        return
    quantization = quantization_of(read_config(folder / "config.json"))
    if quantization is not None and _is_known(quantization):
        return
    lacking = gettext("its config.json does not say how its weights are quantized")
    remedy = gettext("Fetch the config.json that belongs to the files, or the model that they were made from.")
    if quantization is not None:
        method = quantization_method(quantization)
        lacking = (
            gettext("transformers does not know the method {method}").format(method=repr(method))
            if method
            else gettext("its config.json names no method")
        )
        remedy = gettext("Serve it with an engine that knows the method, or name the model that it was made from.")
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="np") as tensors:
            keys = [key for key in tensors.keys() if not BUFFERS.search(key)]  # noqa: SIM118 - the file is no mapping
            has_scales = any("scale" in key for key in keys)
            for key in keys:
                form = tensors.get_slice(key).get_dtype()
                is_number = form not in NO_WEIGHTS or not PARAMETER.search(key)
                if form in CODES or not is_number or (form.startswith("F8") and has_scales):
                    raise NotAModel(
                        gettext("{folder} stores {key} as {form}, and {lacking}.").format(
                            folder=folder.name, key=key, form=form, lacking=lacking
                        ),
                        remedy=remedy,
                    )
