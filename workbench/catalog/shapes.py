"""Shapes of models as they were understood, kept beside the tables of models: what a row of numbers cannot hold."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import msgspec

from workbench.catalog.csv_rows import MOST_BYTES
from workbench.catalog.model_rows import ModelRow
from workbench.catalog.model_spec import KvLayers, ModelSpec
from workbench.catalog.own_rows import write_whole
from workbench.catalog.paths import DATA, workbench_home
from workbench.core.errors import InvalidSpec, system_message
from workbench.core.language import gettext

SHIPPED = DATA / "models" / "shapes.json"


def own_shapes_file() -> Path:
    """Return where the shapes of the reader's own models are kept."""
    return workbench_home() / "shapes.json"


def read_shapes(file: Path) -> dict[str, ModelSpec]:
    """Return the shapes of a file by the name of the model; {} where there is no file, raises ``InvalidSpec``."""
    if not file.exists():
        return {}
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InvalidSpec(
                gettext("{file} has more than {n} MiB.").format(file=file, n=MOST_BYTES >> 20),
                remedy=gettext("Remove it, add the models anew."),
            )
        return msgspec.json.decode(file.read_bytes(), type=dict[str, ModelSpec])
    except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidSpec(
            gettext("The shapes in {file} cannot be read: {error}.").format(file=file, error=system_message(error)),
            remedy=gettext("Remove the file and add the models anew with `workbench models add`."),
        ) from error


def write_shapes(file: Path, shapes: Mapping[str, ModelSpec]) -> None:
    """Write shapes so that the file is the old one or the new one, one model a line; raises ``NotAvailable``."""
    lines = [f"{json.dumps(name)}: {json.dumps(_without_defaults(spec))}" for name, spec in sorted(shapes.items())]
    write_whole(file, "{\n" + ",\n".join(lines) + "\n}\n")


def _without_defaults(spec: ModelSpec) -> dict[str, object]:
    """Return a shape without the fields that have their defaults."""
    built: dict[str, object] = msgspec.to_builtins(spec)
    defaults = {f.name: f.default for f in fields(spec)}
    return {key: value for key, value in built.items() if getattr(spec, key) != defaults[key]}


def is_of(shape: ModelSpec, row: ModelRow) -> bool:
    """Return whether a shape has the numbers of a row, so that it may stand in its place."""
    return (shape.n_params, shape.n_layers, shape.hidden) == (row.params_total, row.layers, row.hidden)


def row_of(spec: ModelSpec, *, provenance: str, source: str, note: str = "") -> dict[str, str]:
    """Return the cells of ``models.csv`` that a shape fills."""
    experts = spec.experts
    cells: dict[str, object] = {
        "model": spec.name,
        "architecture": spec.architecture,
        "layers": spec.n_layers,
        "hidden": spec.hidden,
        "heads": spec.n_heads,
        "kv_heads": spec.n_kv_heads,
        "head_dim": spec.head_dim,
        "intermediate": spec.intermediate or None,
        "moe_intermediate": experts.intermediate if experts else None,
        "experts": experts.n_experts if experts else None,
        "shared_experts": (experts.n_shared or None) if experts else None,
        "experts_per_token": experts.n_per_token if experts else None,
        "first_dense_layers": (experts.n_dense_layers or None) if experts else None,
        "vocab": spec.vocab_size,
        "max_context": spec.max_context_tokens,
        "tied_embeddings": spec.tied_embeddings,
        "attention": _attention(spec),
        "sliding_window": _windows(spec.kv_layers or (), spec.n_layers),
        "kv_bytes_per_token_bf16": _kv_bytes(spec),
        "params_total": spec.n_params,
        "params_active": spec.n_active_params,
        "note": note,
        "provenance": provenance,
        "source": source,
    }
    return {column: "" if value is None else str(value) for column, value in cells.items()}


def _kv_bytes(spec: ModelSpec) -> int | None:
    if spec.kind == "encoder":
        return 0
    return None if spec.kv_elements_per_token is None else 2 * spec.kv_elements_per_token


def _attention(spec: ModelSpec) -> str:
    """Return the kind of attention in the words of the table."""
    if spec.kind == "encoder":
        return "encoder"
    n_kept = sum(g.n_layers for g in spec.kv_layers or ())
    kind = "MLA" if spec.has_latent_cache else "MHA" if spec.n_kv_heads == spec.n_heads else "GQA"
    if spec.kind == "encoder-decoder":
        return f"enc-dec {kind}"
    return f"hybrid: {n_kept} of {spec.n_layers} layers {kind}" if 0 < n_kept < spec.n_layers else kind


def _windows(groups: tuple[KvLayers, ...], n_layers: int) -> str:
    """Return the windows in the words of the table; "" where no layer has one."""
    local = [g for g in groups if g.window_tokens]
    if len(local) != 1 or not local[0].window_tokens:
        return "; ".join(f"{g.window_tokens} on {g.n_layers} of {n_layers} layers" for g in local)
    if local[0].n_layers == n_layers:
        return f"{local[0].window_tokens} all layers"
    return f"{local[0].window_tokens} on {local[0].n_layers} of {n_layers} layers"
