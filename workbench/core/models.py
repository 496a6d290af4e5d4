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
class Experts:
    """A mixture of experts in place of the feed-forward part of most layers."""

    n_experts: int
    """Routed ones of a layer."""
    n_per_token: int
    """Routed ones that a token is sent to."""
    intermediate: int
    """Width of each."""
    n_shared: int = 0
    """Experts of the same width that every token goes through."""
    n_dense_layers: int = 0
    """Layers with an ordinary feed-forward part."""


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
    experts: Experts | None = None
    """None for a dense model."""
    source: str

    @property
    def has_latent_cache(self) -> bool:
        """Whether attention is MLA: a latent that all heads share is stored instead of keys and values."""
        plain = 2 * self.n_layers * self.n_kv_heads * self.head_dim
        return self.kv_elements_per_token is not None and self.kv_elements_per_token < plain / 2
