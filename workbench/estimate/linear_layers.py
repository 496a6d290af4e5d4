"""The linear layers of a decoder, as serving engines run them: q, k and v in one product, gate and up in one."""

from workbench.catalog.formats import LayerGroup
from workbench.catalog.model_spec import LayerProduct, ModelSpec

LEAST_SHARE = 0.02  # of the weights that every token passes: less is routers and norms, no product of its own


def products(model: ModelSpec) -> dict[str, LayerProduct]:
    """Return the products of the layers that every token passes, by role, without the output head and routed experts."""
    if model.products is not None:
        return {p.role: p for p in model.products}
    heads, kv = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    attention = (("qkv", heads + 2 * kv, model.hidden), ("o_proj", model.hidden, heads))
    if model.experts is None:
        return _each_layer(model, *attention, *_feed_forward(model.hidden, model.intermediate))
    passed = passed_weights(model) / model.n_layers
    if model.has_latent_cache:  # its five small products count as one before and one after attention
        rows = round(passed / 2 / model.hidden)
        return _each_layer(model, ("qkv", rows, model.hidden), ("o_proj", model.hidden, rows))
    rest = passed - sum(rows * columns for _, rows, columns in attention)
    width = round(rest / 3 / model.hidden)
    shared = _feed_forward(model.hidden, width) if rest > LEAST_SHARE * passed else ()
    return _each_layer(model, *attention, *shared)


def one_precision(model: ModelSpec, form: str) -> dict[str, str]:
    """Return the plan in which all products and experts of a model have one number format."""
    return dict.fromkeys((*products(model), "gate_up"), form)


def _each_layer(model: ModelSpec, *shapes: tuple[str, int, int]) -> dict[str, LayerProduct]:
    return {
        role: LayerProduct(role=role, rows=rows, columns=columns, n_layers=model.n_layers)
        for role, rows, columns in shapes
    }


def _feed_forward(hidden: int, width: int) -> tuple[tuple[str, int, int], tuple[str, int, int]]:
    return ("gate_up", 2 * width, hidden), ("down_proj", hidden, width)


def routed_weights(model: ModelSpec) -> float:
    """Return the weights of all routed experts of all layers; 0 for a dense model.

    From the two counts of the catalogue: what is stored but not active are the routed experts that a token skips.
    """
    if model.experts is None:
        return 0.0
    skipped = 1 - model.experts.n_per_token / model.experts.n_experts
    return (model.n_params - model.n_vision_params - model.n_active_params) / skipped


def passed_weights(model: ModelSpec) -> float:
    """Return the weights of all layers that every token passes: attention, shared experts and dense layers; no embeddings."""
    active = routed_weights(model) * model.experts.n_per_token / model.experts.n_experts if model.experts else 0.0
    return model.n_active_params - model.n_end_params - active


def n_expert_layers(model: ModelSpec) -> int:
    """Return the number of layers with experts, from the counts: a model may have them in every other layer."""
    if model.experts is None:
        return 0
    if model.experts.n_layers is not None:
        return model.experts.n_layers
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
    """Return the layer groups of a model of the Llama family."""
    groups = []
    for layer in range(model.n_layers):
        for role, parts in MODULES.items():
            parent = parts[0].rsplit(".", 1)[0]
            modules = tuple(f"model.layers.{layer}.{part}" for part in parts)
            groups.append(LayerGroup(name=f"model.layers.{layer}.{parent}.{role}", modules=modules))
    return groups
