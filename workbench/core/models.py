"""The shape of a language model and what follows from it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLayers:
    """Layers that keep keys and values alike."""

    n_layers: int
    elements_per_token: int
    """Numbers that one layer stores for a token: 2 x KV heads x head_dim, or the latent of MLA."""
    window_tokens: int | None = None
    """Positions that are ever looked at again; None where all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A decoder-only transformer. Counts are of the whole model."""

    name: str
    architecture: str
    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate: int
    vocab_size: int
    max_context_tokens: int
    tied_embeddings: bool
    n_params: int
    n_active_params: int
    kv_elements_per_token: int | None
    """Stored numbers per token over all layers, without sliding-window savings; None where layers differ in kind."""
    kv_layers: tuple[KvLayers, ...] | None
    """Layers by what they keep; None where that is not known."""
    source: str
