"""A model understood from its folder: its config.json, and what its files hold where they are there."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from workbench.catalog.ask import asked_model
from workbench.catalog.checkpoint import CheckpointFiles, checkpoint_files
from workbench.catalog.config_file import quantization_method, quantization_of, without_quantization
from workbench.catalog.model_spec import ModelSpec, StoredWeights
from workbench.core.errors import NotAModel, UnknownStorage
from workbench.core.language import gettext

TOLERANCE = 0.01
"""Share of the parameters by which files may differ from their class: heads for training, buffers."""
OPTIMIZER_FILE = "hf_quant_config.json"
"""Where older releases of NVIDIA's Model Optimizer say how weights are stored."""


def model_of_folder(folder: Path, fields: Mapping[str, object]) -> ModelSpec:
    """Return the model of a configuration; bytes are those of the files in its folder where there are any.

    Raises:
        NotAModel: See ``asked_model`` and ``checkpoint_files``; or the files are not those of the configuration.
    """
    fields = _with_optimizer_file(fields, folder)
    unknown: UnknownStorage | None = None
    try:
        spec = asked_model(fields)
    except UnknownStorage as error:
        spec, unknown = asked_model(without_quantization(fields)), error
    files = checkpoint_files(folder, n_layers=spec.n_layers)
    if files is None:
        if unknown is not None:
            raise unknown
        return spec
    if files.n_left_out:
        note = f"The files hold {files.n_left_out:,} parameters of draft layers, which are not counted."
        spec = replace(spec, notes=(*spec.notes, note))
    quantization = quantization_of(fields)
    if quantization is not None:
        method = quantization_method(quantization)
        stored = spec.stored or StoredWeights(method=method, precision=None, n_bytes=0)
        return replace(spec, stored=replace(stored, n_bytes=files.n_bytes))
    return _checked(spec, files, folder)


def _with_optimizer_file(fields: Mapping[str, object], folder: Path) -> Mapping[str, object]:
    """Return the fields with the quantization that lies in a file of its own."""
    file = folder / OPTIMIZER_FILE
    if quantization_of(fields) is not None or not file.is_file():
        return fields
    try:
        content = json.loads(file.read_bytes())
        return {**fields, "quantization_config": {"quant_method": "modelopt", **content}}
    except (OSError, ValueError, RecursionError, TypeError) as error:
        raise NotAModel(
            gettext("{file} cannot be read as JSON.").format(file=file), remedy=gettext("Fetch the file again.")
        ) from error


def _checked(spec: ModelSpec, files: CheckpointFiles, folder: Path) -> ModelSpec:
    """Return the model of weights in 16 bits; raises ``NotAModel`` where its files hold clearly fewer."""
    n = files.n_params
    if n is None:
        return spec
    if n < spec.n_params * (1 - TOLERANCE) and spec.kind != "encoder":
        raise NotAModel(
            gettext("The files in {folder} hold {n} parameters, and its config.json describes {described}.").format(
                folder=folder, n=f"{n:,}", described=f"{spec.n_params:,}"
            ),
            remedy=gettext("Fetch the rest of the checkpoint, or the config.json that belongs to it."),
        )
    notes = list(spec.notes)
    if n > spec.n_params * (1 + TOLERANCE) and n - spec.n_params != spec.vocab_size * spec.hidden:
        notes.append(f"The files hold {n:,} parameters, {n - spec.n_params:,} more than the class builds.")
    if files.n_bytes < 1.5 * n:
        stored = StoredWeights(method="not named in config.json", precision=None, n_bytes=files.n_bytes)
        return replace(spec, stored=stored, notes=tuple(notes))
    if files.n_bytes > 3 * n:
        notes.append("The files hold 32-bit numbers; engines serve them in 16 bits, and so they are counted.")
    return replace(spec, notes=tuple(notes))
