"""``workbench models``: list, show, add and check models, and list their quantized siblings."""

import json
from dataclasses import asdict, replace
from typing import Annotated

import typer

from workbench.app.catalogue.model_view import ModelView, bytes_per_token, model_view, view_rows
from workbench.app.catalogue.shared import (
    FromFile,
    Replace,
    Settings,
    add_check_command,
    add_from_file,
    print_rows,
    with_settings,
)
from workbench.catalog.encoders import catalog_encoders
from workbench.catalog.models import catalog_models, encoder, model_spec_from
from workbench.catalog.own_tables import MODELS, add_rows, rows_in
from workbench.catalog.shapes import own_shapes_file, read_shapes, row_of, write_shapes
from workbench.catalog.siblings import listed_siblings
from workbench.core.errors import InvalidSpec
from workbench.core.rows import plain
from workbench.core.units import NOT_KNOWN, shown_bytes, three_digits
from workbench.interface.command import AsJson, print_table
from workbench.interface.readable import ReadableErrors, out

HEAD = ("model", "kind", "parameters, 10⁹", "active, 10⁹", "cache per token, BF16", "maximum context", "row")
SIBLING_HEAD = ("checkpoint", "precision", "method", "size", "day")
BY_HAND = "By its numbers, for a type that transformers does not know"
Place = Annotated[
    str, typer.Argument(help="Folder, config.json, model of the catalogue, hub id, or a new name with its numbers.")
]
app = typer.Typer(help="Models: the catalogue's and your own.", no_args_is_help=True)


@app.command("list")
def list_models(
    words: Annotated[list[str] | None, typer.Argument(help="Parts of names; all models if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the models of the catalogue and your own."""
    with ReadableErrors():
        own = {cells["model"] for cells in rows_in(MODELS)}
        known = [m for m in catalog_models().values() if all(w.lower() in m.name.lower() for w in words or ())]
        views = [model_view(m) for m in known]
        encoders = [e for e in catalog_encoders().values() if all(w.lower() in e.name.lower() for w in words or ())]
    rows = [
        (
            v.name,
            v.kind,
            three_digits(v.n_params / 1e9),
            three_digits(v.n_active_params / 1e9),
            bytes_per_token(v),
            f"{v.max_context_tokens:,}",
            "own" if v.name in own else "catalogue",
        )
        for v in views
    ]
    rows += [
        (
            e.name,
            "encoder",
            three_digits(e.n_params / 1e9),
            NOT_KNOWN,
            NOT_KNOWN,
            f"{e.most_tokens:,}" if e.most_tokens else NOT_KNOWN,
            "own" if e.name in own else "catalogue",
        )
        for e in encoders
    ]
    data = [asdict(v) | {"is_own": v.name in own} for v in views]
    data += [{"kind": "encoder", "is_own": e.name in own} | asdict(e) for e in encoders]
    print_rows(HEAD, rows, as_json=as_json, data=data)


@app.command()
def show(place: Place, as_json: AsJson = False) -> None:
    """Print what is understood of a model: its parameters by part, its cache by layer, experts and stored weights."""
    with ReadableErrors():
        if place in catalog_encoders():
            _show_encoder(place, as_json=as_json)
            return
        view = model_view(model_spec_from(place))
    _show(view, as_json=as_json)


def _show(view: ModelView, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plain(view), indent=1))
    else:
        print_table((view.name, ""), view_rows(view))


def _show_encoder(place: str, *, as_json: bool) -> None:
    found = asdict(encoder(place))
    if as_json:
        print(json.dumps({"kind": "encoder"} | found, indent=1))
        return
    cells = (f"{v:,}" if isinstance(v, int) else str(v) for v in found.values() if v is not None)
    names = (key.removeprefix("n_").replace("_", " ") for key, v in found.items() if v is not None)
    print_table((place, "encoder"), zip(names, cells, strict=True))


@app.command()
def add(
    place: Annotated[
        str | None,
        typer.Argument(help="Folder, config.json or hub id that is understood; or a new name with its numbers."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name in your table; that of the place if left out.")] = None,
    params: Annotated[
        float | None, typer.Option(help="All parameters, such as 7.6e9.", rich_help_panel=BY_HAND)
    ] = None,
    active_params: Annotated[
        float | None, typer.Option(help="Parameters that a token passes; all if left out.", rich_help_panel=BY_HAND)
    ] = None,
    layers: Annotated[int | None, typer.Option(help="Number of layers.", rich_help_panel=BY_HAND)] = None,
    hidden: Annotated[int | None, typer.Option(help="Width of the model.", rich_help_panel=BY_HAND)] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads of a layer.", rich_help_panel=BY_HAND)] = None,
    kv_heads: Annotated[
        int | None,
        typer.Option(help="Heads of keys and values; as many as heads if left out.", rich_help_panel=BY_HAND),
    ] = None,
    head_dim: Annotated[
        int | None, typer.Option(help="Width of a head; hidden over heads if left out.", rich_help_panel=BY_HAND)
    ] = None,
    intermediate: Annotated[
        int | None, typer.Option(help="Width of the feed-forward part.", rich_help_panel=BY_HAND)
    ] = None,
    vocab: Annotated[int | None, typer.Option(help="Size of the vocabulary.", rich_help_panel=BY_HAND)] = None,
    max_context: Annotated[int | None, typer.Option(help="Longest context in tokens.", rich_help_panel=BY_HAND)] = None,
    kv_bytes_per_token: Annotated[
        int | None,
        typer.Option(
            help="Cache of a token over all layers in BF16; from layers and KV heads if left out.",
            rich_help_panel=BY_HAND,
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the numbers are from, with a date.")] = None,
    settings: Settings = None,
    file: FromFile = None,
    replace_row: Replace = False,
) -> None:
    """Add a model of your own: as it is understood from its files, or by its numbers."""
    if file is not None:
        add_from_file(MODELS, file, does_replace=replace_row)
        return
    with ReadableErrors():
        if place is None:
            raise InvalidSpec("No model is named.", remedy="Give a folder, a config.json, a hub id or a name.")
        if params is None:
            view = _add_understood(place, name, source=source, settings=settings, does_replace=replace_row)
            _show(view, as_json=False)
            return
        needed = {"layers": layers, "hidden": hidden, "heads": heads, "vocab": vocab, "max-context": max_context}
        missing = [option for option, value in needed.items() if value is None]
        if missing or source is None:
            options = " ".join(f"--{option}" for option in (*missing, *([] if source else ["source"])))
            raise InvalidSpec("A model by its numbers needs more of them.", remedy=f"Give also {options}.")
        assert layers
        assert hidden
        assert heads
        width = head_dim or hidden // heads
        row = {
            "model": name or place,
            "architecture": "own",
            "layers": layers,
            "hidden": hidden,
            "heads": heads,
            "kv_heads": kv_heads or heads,
            "head_dim": width,
            "intermediate": intermediate,
            "vocab": vocab,
            "max_context": max_context,
            "attention": "MHA" if (kv_heads or heads) == heads else "GQA",
            "kv_bytes_per_token_bf16": kv_bytes_per_token or 4 * layers * (kv_heads or heads) * width,
            "params_total": round(params),
            "params_active": round(active_params or params),
            "provenance": "own",
            "source": source,
        }
        target = add_rows(MODELS, [with_settings(row, settings)], does_replace=replace_row)
    out.print(f"{name or place} is added to {target}.", soft_wrap=True)


def _add_understood(
    place: str, name: str | None, *, source: str | None, settings: list[str] | None, does_replace: bool
) -> ModelView:
    """Add a model as it is understood, its shape beside its row, and return what is understood."""
    model = model_spec_from(place)
    model = replace(model, name=name or model.name)
    row = row_of(model, provenance="own", source=source or f"understood from {place} ({model.source})")
    add_rows(MODELS, [row | with_settings({}, settings)], does_replace=does_replace)
    write_shapes(own_shapes_file(), read_shapes(own_shapes_file()) | {model.name: model})
    return model_view(model)


add_check_command(app, MODELS)


@app.command()
def siblings(
    model: Annotated[str, typer.Argument(help="Name of a model, such as Qwen/Qwen3-32B.")], as_json: AsJson = False
) -> None:
    """List quantized checkpoints of a model: those that the hub lists now, or the known ones where it does not answer."""
    with ReadableErrors():
        found, reason = listed_siblings(model)
    if as_json:
        print(json.dumps({"model": model, "hub": reason or "listed", "siblings": [asdict(s) for s in found]}, indent=1))
        return
    if reason:
        out.print(f"Known checkpoints are shown: {reason}.", soft_wrap=True)
    if not found:
        out.print(f"No quantized checkpoint of {model} is known.", soft_wrap=True)
        return
    cells = [(s.sibling, s.precision or NOT_KNOWN, s.method or NOT_KNOWN, shown_bytes(s.bytes), s.date) for s in found]
    print_table(SIBLING_HEAD, cells)
    for source in dict.fromkeys(s.source for s in found):
        out.print(f"Source: {source}", soft_wrap=True)
