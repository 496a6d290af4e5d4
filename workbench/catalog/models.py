"""Models: rows of ``data/models.csv`` and the reader's own, and any transformers folder or config.json."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from workbench.catalog.ask import asked_model
from workbench.catalog.checkpoint import INDEX
from workbench.catalog.config_file import parsed_config, read_config
from workbench.catalog.csv_rows import rows_of
from workbench.catalog.encoder_spec import EncoderSpec
from workbench.catalog.encoders import catalog_encoders, encoder_from
from workbench.catalog.folder_model import model_of_folder
from workbench.catalog.formats import FORMATS
from workbench.catalog.gguf_model import gguf_file_of, model_of_gguf
from workbench.catalog.hub import hub_config, is_hub_name
from workbench.catalog.kv_layers import kv_layers_of_row
from workbench.catalog.model_rows import ModelRow, model_rows
from workbench.catalog.model_spec import Experts, ModelSpec, StoredWeights
from workbench.catalog.own_rows import cached_while_unchanged
from workbench.catalog.paths import located
from workbench.catalog.shapes import SHIPPED, is_of, own_shapes_file, read_shapes
from workbench.core.errors import NotAModel, NotAvailable
from workbench.core.language import gettext
from workbench.core.names import did_you_mean

GENERATING = ("decoder", "vision-language")
"""Kinds of models that are estimated: they generate text from a decoder alone."""

WEIGHT_FILES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf"})


@cached_while_unchanged("models.csv", "shapes.json")
def catalog_models() -> dict[str, ModelSpec]:
    """Return the language models of the catalogue by name (encoders, which keep no KV cache, are left out).

    A row whose shape was kept when it was understood has all that a class of transformers says of it.
    """
    shapes = read_shapes(SHIPPED) | read_shapes(own_shapes_file())
    specs = (_spec_of(row, shapes.get(row.model)) for row in model_rows() if row.kv_bytes_per_token_bf16 != 0)
    return {spec.name: spec for spec in specs if spec}


@cached_while_unchanged("models.csv", "shapes.json")
def plannable_models() -> tuple[str, ...]:
    """Return the names of the models of the catalogue that generate and whose layers' caches are known."""
    return tuple(n for n, m in catalog_models().items() if m.kv_layers and m.kind in GENERATING)


def _spec_of(row: ModelRow, shape: ModelSpec | None) -> ModelSpec | None:
    """Return the shape that was kept of a row, else what follows from its numbers."""
    if shape is not None and is_of(shape, row):
        return replace(shape, name=row.model, source=row.source, stored=shape.stored or _stored_of_row(row, shape))
    return _from_row(row)


def _from_row(row: ModelRow) -> ModelSpec | None:
    """Return the shape of a row; None where a number that it needs is missing."""
    layers, hidden, heads, vocab, most = row.layers, row.hidden, row.heads, row.vocab, row.max_context
    if not layers or not hidden or not heads or not vocab or not most or not row.params_active:
        return None
    kv_bytes = row.kv_bytes_per_token_bf16
    spec = ModelSpec(
        name=row.model,
        architecture=row.architecture,
        kind="encoder-decoder" if row.attention.startswith("enc-dec") else "decoder",
        n_layers=layers,
        hidden=hidden,
        n_heads=heads,
        n_kv_heads=row.kv_heads or heads,
        head_dim=row.head_dim or hidden // heads,
        intermediate=row.intermediate or row.moe_intermediate or 0,
        vocab_size=vocab,
        max_context_tokens=most,
        tied_embeddings=row.tied_embeddings,
        n_params=row.params_total,
        n_active_params=row.params_active,
        kv_elements_per_token=kv_bytes // 2 if kv_bytes else None,
        kv_layers=kv_layers_of_row(layers, row.sliding_window, elements=kv_bytes // 2) if kv_bytes else None,
        has_latent_cache=row.attention == "MLA",
        experts=_experts_of_row(row),
        source=row.source,
    )
    return replace(spec, stored=_stored_of_row(row, spec))


def _stored_of_row(row: ModelRow, spec: ModelSpec) -> StoredWeights | None:
    """Return how the official checkpoint is stored; its size is computed where it is not published. None for 16 bits."""
    name = row.official_precision
    if not name or name == "bf16":
        return None
    inner = spec.n_params - spec.n_end_params
    bits = 16 * spec.n_end_params + inner * FORMATS[name].stored_bits(in_features=spec.hidden)
    return StoredWeights(method=name, precision=name, n_bytes=row.official_bytes or round(bits / 8))


def _experts_of_row(row: ModelRow) -> Experts | None:
    intermediate = row.moe_intermediate or row.intermediate
    if not row.experts or not row.experts_per_token or not intermediate:
        return None
    return Experts(
        n_experts=row.experts,
        n_per_token=row.experts_per_token,
        intermediate=intermediate,
        n_shared=row.shared_experts or 0,
        n_dense_layers=row.first_dense_layers or 0,
    )


def is_only_a_shape(place: str) -> bool:
    """Return whether a model is a folder without weights of any format, so that only its speed can be measured."""
    folder = Path(located(place))
    return folder.is_dir() and not any(f.suffix in WEIGHT_FILES or f.name == INDEX for f in folder.iterdir())


def require_folder(place: str) -> None:
    """Raise ``NotAvailable`` for a model that is a row of the catalogue, which cannot be measured."""
    if place in catalog_models():
        raise NotAvailable(
            gettext("{place} is in the catalogue only, so it cannot be measured.").format(place=place),
            remedy=gettext("Name a folder, such as data/models/llama-3.1-8b-shape."),
        )
    model_spec_from(place)


def language_model_from(place: str) -> ModelSpec:
    """Return the shape of a model that generates text; see ``model_spec_from``.

    Raises:
        NotAModel: It is an encoder, which has a command of its own, or an encoder-decoder.
    """
    spec = model_spec_from(place)
    if spec.kind == "encoder":
        raise _an_encoder(place)
    if spec.kind not in GENERATING:
        raise NotAModel(
            gettext("{place} is of the kind {kind}: its encoder and its cross-attention are not estimated.").format(
                place=place, kind=spec.kind
            ),
            remedy=gettext(
                "Name a model that has a decoder only; `workbench models show` prints what is known of this one."
            ),
        )
    return spec


def _an_encoder(place: str) -> NotAModel:
    return NotAModel(
        gettext("{place} is an encoder: it reads its input once, generates nothing and keeps no KV cache.").format(
            place=place
        ),
        remedy=gettext("Estimate it with `workbench encode {model} DEVICE`.").format(model=shlex.quote(place)),
    )


def encoder(place: str) -> EncoderSpec:
    """Return an encoder of the catalogue, or that of a folder, a config.json or a hub id; raises ``NotAModel``."""
    if place in catalog_encoders():
        return catalog_encoders()[place]
    if place not in catalog_models():
        try:
            spec = model_spec_from(place)
        except NotAModel as error:
            remedy = did_you_mean(place, catalog_encoders()) or error.remedy
            raise NotAModel(error.cause, remedy=remedy) from error
        if spec.kind == "encoder":
            return encoder_from(spec)
    raise NotAModel(
        gettext("{place} generates text, so it is no encoder.").format(place=place),
        remedy=gettext("Choose from: {names}.").format(names=", ".join(catalog_encoders())),
    )


def model_spec_from(place: str) -> ModelSpec:
    """Return the shape of a folder, a config.json, a catalogue name or a hub id.

    The hub is asked for names of its form only, which neither the catalogue nor its cache on this machine has.

    Raises:
        NotAModel: There is no such model, or it was not understood; the message names the fields or the reason.
    """
    path = _open_path(place)
    config_file = path / "config.json" if path.is_dir() else path
    if config_file.is_file():
        return replace(_spec_of_file(config_file), source=str(place))
    if path.is_dir():
        if (gguf := gguf_file_of(path)) is not None:
            return replace(model_of_gguf(gguf), source=str(place))
        raise _without_config(path, place)
    name = aliases().get(place, place)
    if name in catalog_models():
        return catalog_models()[name]
    if name in catalog_encoders():
        raise _an_encoder(place)
    near = did_you_mean(place, (*catalog_models(), *catalog_encoders()))
    if path.is_absolute() or place.startswith((".", "~")) or not is_hub_name(place):
        raise NotAModel(
            gettext("There is no model at {place}.").format(place=place),
            remedy=near or gettext("Name an existing folder, or a hub id such as Qwen/Qwen2.5-0.5B."),
        )
    try:
        content = hub_config(name)
    except NotAvailable as error:
        raise NotAModel(
            gettext("The model {place} is neither in the catalogue nor cached on this machine, and {cause}.").format(
                place=place, cause=error.cause
            ),
            remedy=near or gettext("Check the name and the network, or name a folder."),
        ) from error
    return model_spec_from_config(parsed_config(content, name=place), name=place, source=f"huggingface.co/{place}")


def _open_path(place: str) -> Path:
    """Return where a place lies; raises ``NotAModel`` for a folder that this user may not look into, or not even at."""
    try:
        path = Path(located(place))
        if path.is_dir():
            os.scandir(path).close()
            (path / "config.json").is_file()
    except PermissionError as error:
        raise NotAModel(
            gettext("{place} is not open to the user of this process.").format(place=place),
            remedy=gettext("Give read access to the folder and those above it."),
        ) from error
    return path


def _spec_of_file(file: Path) -> ModelSpec:
    """Return the shape that a config.json or a GGUF file describes; raises ``NotAModel`` for files of other kinds."""
    if file.suffix == ".gguf":
        return model_of_gguf(file)
    if file.suffix == ".onnx":
        raise NotAModel(
            gettext("{file} is a graph, not the folder of a model.").format(file=file),
            remedy=gettext("Measure it with `workbench edge {file}`.").format(file=shlex.quote(str(file))),
        )
    if file.suffix in WEIGHT_FILES:
        raise NotAModel(
            gettext("{file} is a file of weights, which does not say what model they are of.").format(file=file),
            remedy=gettext("Name the folder that holds it and its config.json."),
        )
    return replace(model_of_folder(file.parent, read_config(file)), name=file.parent.name)


def _without_config(folder: Path, place: str) -> NotAModel:
    """Return why a folder without a configuration is no model, with the folder below it that is one."""
    if (folder / "adapter_config.json").is_file():
        return NotAModel(
            gettext("The folder {place} holds an adapter without its model.").format(place=place),
            remedy=gettext("Name the folder of the model, or merge the two (`merge_and_unload` of peft)."),
        )
    if (folder / "model_index.json").is_file():
        return NotAModel(
            gettext("The folder {place} holds a pipeline of diffusers, which makes images.").format(place=place),
            remedy=gettext("Name the folder of a language model."),
        )
    places = ("*", "snapshots/*", "models--*/snapshots/*")  # the last two are those of the hub's cache
    below = sorted(file.parent for place in places for file in folder.glob(f"{place}/config.json"))
    return NotAModel(
        gettext("The folder {place} has neither a config.json nor a GGUF file.").format(place=place),
        remedy=gettext("Name {below}, which has one.").format(below=below[-1])
        if below
        else gettext("Name a folder that save_pretrained wrote, or a GGUF file."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alias:
    """A line of ``aliases.csv``: a name that the hub gave to a model of the catalogue."""

    name: str
    model: str


@cache
def aliases() -> dict[str, str]:
    """Return the models of the catalogue by other official names."""
    return {row.name: row.model for row in rows_of("aliases.csv", _Alias)}


def model_spec_from_config(fields: Mapping[str, object], *, name: str, source: str) -> ModelSpec:
    """Return what transformers' own class of a configuration says of it; see ``asked_model``."""
    return replace(asked_model(fields), name=name, source=source)
