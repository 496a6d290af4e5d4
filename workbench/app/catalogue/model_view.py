"""What is understood of a model, as ``models show`` prints it."""

from dataclasses import dataclass

from workbench.catalog.model_spec import ModelSpec
from workbench.core.units import NOT_KNOWN, shown_bytes
from workbench.estimate.kv_cache import kv_cache_bytes

CONTEXTS = (8_192, 131_072)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayersView:
    """Layers that keep the same of a token."""

    n_layers: int
    keeps: str
    """What they keep: keys and values of all or of the last tokens, a latent, or a constant state."""
    bf16_bytes_per_token: float
    """Of one layer; 0 for a constant state."""
    window_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextView:
    """The cache of one sequence of a length."""

    context_tokens: int
    bf16_bytes: float | None
    """Keys, values and constant state together; None where it is not known."""
    is_within_maximum: bool
    """Whether the model reads a context of this length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """What is understood of a model."""

    name: str
    kind: str
    architecture: str
    n_params: int
    n_active_params: int
    """Parameters that a token of text passes."""
    n_embedding_params: int
    """Input embeddings and output head."""
    n_vision_params: int
    """Towers for images and sound."""
    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    layers: tuple[LayersView, ...] | None
    """Layers by what they keep; None where that is not known."""
    kv_bf16_bytes_per_token: float | None
    """Of all layers, windows counted as if they were full."""
    state_bytes: int
    """Constant memory of each sequence."""
    contexts: tuple[ContextView, ...]
    n_experts: int | None
    """Routed experts of a layer; None for a dense model."""
    n_experts_per_token: int | None
    n_shared_experts: int | None
    max_context_tokens: int
    stored_method: str | None
    """How the checkpoint stores its weights; None where no quantization of it is known."""
    stored_precision: str | None
    """Name in the table of formats; None where no format of the workbench is like it, or no quantization is known."""
    stored_bytes: int
    """All weights with scales and zero points, or in BF16 where no quantization is known."""
    notes: tuple[str, ...]
    source: str


def model_view(model: ModelSpec) -> ModelView:
    """Return what is understood of a model."""
    experts, stored = model.experts, model.stored
    return ModelView(
        name=model.name,
        kind=model.kind,
        architecture=model.architecture,
        n_params=model.n_params,
        n_active_params=model.n_active_params,
        n_embedding_params=model.n_end_params,
        n_vision_params=model.n_vision_params,
        n_layers=model.n_layers,
        hidden=model.hidden,
        n_heads=model.n_heads,
        n_kv_heads=model.n_kv_heads,
        layers=_layers(model),
        kv_bf16_bytes_per_token=None if model.kv_elements_per_token is None else 2.0 * model.kv_elements_per_token,
        state_bytes=model.state_bytes,
        contexts=tuple(_context(model, n) for n in CONTEXTS if model.kind != "encoder"),
        n_experts=experts.n_experts if experts else None,
        n_experts_per_token=experts.n_per_token if experts else None,
        n_shared_experts=experts.n_shared if experts else None,
        max_context_tokens=model.max_context_tokens,
        stored_method=stored.method if stored else None,
        stored_precision=stored.precision if stored else None,
        stored_bytes=stored.n_bytes if stored else 2 * model.n_params,
        notes=model.notes,
        source=model.source,
    )


def _layers(model: ModelSpec) -> tuple[LayersView, ...] | None:
    if model.kv_layers is None:
        return None
    what = "latent of all tokens" if model.has_latent_cache else "keys and values of all tokens"
    groups = [
        LayersView(
            n_layers=g.n_layers,
            keeps=what if g.window_tokens is None else f"keys and values of the last {g.window_tokens:,} tokens",
            bf16_bytes_per_token=2.0 * g.elements_per_token,
            window_tokens=g.window_tokens,
        )
        for g in model.kv_layers
    ]
    rest = model.n_layers - sum(g.n_layers for g in model.kv_layers)
    if rest > 0:
        keeps = "constant state" if model.state_bytes else "nothing"
        groups.append(LayersView(n_layers=rest, keeps=keeps, bf16_bytes_per_token=0.0, window_tokens=None))
    return tuple(groups)


def _context(model: ModelSpec, n_tokens: int) -> ContextView:
    known = model.kv_layers is not None
    return ContextView(
        context_tokens=n_tokens,
        bf16_bytes=kv_cache_bytes(model, context_tokens=n_tokens) + model.state_bytes if known else None,
        is_within_maximum=n_tokens <= model.max_context_tokens,
    )


def view_rows(view: ModelView) -> list[tuple[str, str]]:
    """Return the lines of a table about a model."""
    parts = [f"{view.n_embedding_params:,} in embeddings and output head"]
    parts += [f"{view.n_vision_params:,} in towers for images and sound"] if view.n_vision_params else []
    rows = [
        ("kind", f"{view.kind} ({view.architecture})"),
        ("parameters", f"{view.n_params:,}"),
        ("active parameters of a token", f"{view.n_active_params:,}"),
        ("of the parameters", "; ".join(parts)),
        ("layers", f"{view.n_layers} of width {view.hidden:,}, {view.n_heads} heads, {view.n_kv_heads} KV heads"),
    ]
    if view.kind != "encoder":
        rows += [(f"cache of {group.n_layers} layers", _kept(group)) for group in view.layers or ()]
        rows += [] if view.layers else [("cache of the layers", NOT_KNOWN)]
        rows.append(("cache per token, BF16", bytes_per_token(view)))
        rows += [("constant state of a sequence", shown_bytes(view.state_bytes))] if view.state_bytes else []
    for context in view.contexts:
        beyond = "" if context.is_within_maximum else " (more than the model reads)"
        rows.append((f"one sequence of {context.context_tokens:,} tokens", shown_bytes(context.bf16_bytes) + beyond))
    if view.n_experts:
        shared = f", {view.n_shared_experts} shared" if view.n_shared_experts else ""
        rows.append(("experts", f"{view.n_experts_per_token} of {view.n_experts} for a token{shared}"))
    how = f"{view.stored_method}, {view.stored_precision or 'other'}: " if view.stored_method else ""
    weights = "stored weights" if how else "weights in BF16"
    rows += [
        ("maximum context", f"{view.max_context_tokens:,} tokens"),
        (weights, f"{how}{shown_bytes(view.stored_bytes)} ({view.stored_bytes:,} bytes)"),
        *(("note", note) for note in view.notes),
        ("source", view.source),
    ]
    return rows


def bytes_per_token(view: ModelView) -> str:
    """Return the cache of a token, as it is shown."""
    kept = view.kv_bf16_bytes_per_token
    return NOT_KNOWN if kept is None else f"{kept:,.0f} bytes"


def _kept(group: LayersView) -> str:
    if not group.bf16_bytes_per_token:
        return group.keeps
    return f"{group.keeps}, {group.bf16_bytes_per_token:,.0f} bytes per token and layer in BF16"
