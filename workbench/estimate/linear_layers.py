"""The linear layers of a decoder, as serving engines run them: q, k and v in one product, gate and up in one."""

from dataclasses import dataclass

from workbench.core.checkpoints import LayerGroup
from workbench.core.models import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One matrix product with a weight of (rows, columns): inputs have ``columns`` numbers, outputs ``rows``."""

    role: str
    rows: int
    columns: int

    @property
    def n_weights(self) -> int:
        """Numbers in the weight."""
        return self.rows * self.columns


ROLES = ("qkv", "o_proj", "gate_up", "down_proj")
LEAST_SHARE = 0.02  # of the weights that every token passes: less is routers and norms, no product of its own


def products(model: ModelSpec) -> dict[str, Product]:
    """The products of one decoder layer that every token passes, by role, without the output head and routed experts."""
    heads, kv = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    attention = (
        Product(role="qkv", rows=heads + 2 * kv, columns=model.hidden),
        Product(role="o_proj", rows=model.hidden, columns=heads),
    )
    if model.experts is None:
        return {p.role: p for p in (*attention, *_feed_forward(model.hidden, model.intermediate))}
    passed = passed_weights(model) / model.n_layers
    if model.has_latent_cache:  # its five small products count as one before and one after attention
        rows = round(passed / 2 / model.hidden)
        pair = (
            Product(role="qkv", rows=rows, columns=model.hidden),
            Product(role="o_proj", rows=model.hidden, columns=rows),
        )
        return {p.role: p for p in pair}
    rest = passed - sum(p.n_weights for p in attention)
    width = round(rest / 3 / model.hidden)
    shared = _feed_forward(model.hidden, width) if rest > LEAST_SHARE * passed else ()
    return {p.role: p for p in (*attention, *shared)}


def _feed_forward(hidden: int, width: int) -> tuple[Product, Product]:
    return (
        Product(role="gate_up", rows=2 * width, columns=hidden),
        Product(role="down_proj", rows=hidden, columns=width),
    )


def routed_weights(model: ModelSpec) -> float:
    """Weights of all routed experts of all layers; 0 for a dense model.

    From the two counts of the catalogue: what is stored but not active are the routed experts that a token skips.
    """
    if model.experts is None:
        return 0.0
    skipped = 1 - model.experts.n_per_token / model.experts.n_experts
    return (model.n_params - model.n_active_params) / skipped


def passed_weights(model: ModelSpec) -> float:
    """Weights of all layers that every token passes: attention, shared experts and dense layers; no embeddings."""
    ends = model.vocab_size * model.hidden * (1 if model.tied_embeddings else 2)
    active = routed_weights(model) * model.experts.n_per_token / model.experts.n_experts if model.experts else 0.0
    return model.n_active_params - ends - active


def n_expert_layers(model: ModelSpec) -> int:
    """Layers with experts, from the counts: a model may have them in every other layer."""
    if model.experts is None:
        return 0
    one = 3 * model.hidden * model.experts.intermediate * model.experts.n_experts
    return min(model.n_layers, max(1, round(routed_weights(model) / one)))


MODULES = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o_proj": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down_proj": ("mlp.down_proj",),
}
"""Names of the modules in models of the Llama family."""


def decoder_groups(model: ModelSpec) -> list[LayerGroup]:
    """The layer groups of a model of the Llama family."""
    groups = []
    for layer in range(model.n_layers):
        for role, parts in MODULES.items():
            parent = parts[0].rsplit(".", 1)[0]
            modules = tuple(f"model.layers.{layer}.{part}" for part in parts)
            groups.append(LayerGroup(name=f"model.layers.{layer}.{parent}.{role}", modules=modules))
    return groups
