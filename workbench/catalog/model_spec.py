"""The shape of a language model and what follows from it."""

from dataclasses import dataclass
from typing import Literal

ModelKind = Literal["decoder", "vision-language", "encoder-decoder", "encoder"]
"""How a model is used: a decoder generates text, a vision-language model takes images or sound too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLayers:
    """Layers that keep keys and values alike."""

    n_layers: int
    elements_per_token: int
    """Numbers that one layer stores for a token: 2 x KV heads x head_dim, or the latent of MLA."""
    window_tokens: int | None = None
    """Positions that are ever looked at again; None where all are."""
    n_heads: int | None = None
    """KV heads that tensor parallelism can divide: 1 for a latent, which every device stores; None where all layers have the model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProduct:
    """One matrix product with a weight of (rows, columns): inputs have ``columns`` numbers, outputs ``rows``."""

    role: str
    rows: int
    columns: int
    n_layers: int
    """Layers that have it."""

    @property
    def n_weights(self) -> int:
        """Number of elements of the weight of one layer."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts in place of the feed-forward part of most layers."""

    n_experts: int
    """Routed ones of a layer."""
    n_per_token: int
    """Routed ones that a token is sent to."""
    intermediate: int
    """Width of each routed expert."""
    n_shared: int = 0
    """Experts of the same width that every token goes through."""
    n_dense_layers: int = 0
    """Layers with an ordinary feed-forward part."""
    n_layers: int | None = None
    """Layers with experts; None where that follows from the counts of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """How a checkpoint stores its weights, from its ``quantization_config`` or from its own tensors."""

    method: str
    """Name of the method, such as gptq, awq, fp8, mxfp4."""
    precision: str | None
    """The name in ``FORMATS`` of its linear layers; None where no format of the workbench is like it."""
    n_bytes: int
    """All weights with scales and zero points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A language model. Counts are of the whole model."""

    name: str
    architecture: str
    kind: ModelKind = "decoder"
    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate: int
    vocab_size: int
    max_context_tokens: int
    """Longest sequence that it was made for; 0 where that is not known or not limited."""
    tied_embeddings: bool
    n_params: int
    n_active_params: int
    """Parameters that one token passes."""
    n_embedding_params: int | None = None
    """Of input embeddings and output head; None: vocabulary x hidden, twice where they are not tied."""
    n_vision_params: int = 0
    """Of the towers for images and sound, their projectors included."""
    kv_elements_per_token: int | None
    """Stored numbers per token over all layers, without sliding-window savings; None where layers differ in kind."""
    kv_layers: tuple[KvLayers, ...] | None
    """Layers by what they keep; None where that is not known."""
    state_bytes: int = 0
    """Constant memory of each sequence: states of recurrent and convolutional layers."""
    has_latent_cache: bool = False
    """Whether attention is MLA: a latent that all heads share is stored instead of keys and values."""
    experts: Experts | None = None
    """None for a dense model."""
    products: tuple[LayerProduct, ...] | None = None
    """Products that every token passes; None where they follow from the sizes above."""
    stored: StoredWeights | None = None
    """How the checkpoint is stored; None where it is BF16 or FP16."""
    notes: tuple[str, ...] = ()
    """What a reader must know of the counts: fields that nothing reads, parts that are not built."""
    source: str

    @property
    def n_end_params(self) -> int:
        """Parameters of the input embeddings and the output head."""
        if self.n_embedding_params is not None:
            return self.n_embedding_params
        return self.vocab_size * self.hidden * (1 if self.tied_embeddings else 2)
