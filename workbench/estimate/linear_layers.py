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


def products(model: ModelSpec) -> dict[str, Product]:
    """The products of one decoder layer by role, without the output head."""
    heads, kv = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    made = (
        Product(role="qkv", rows=heads + 2 * kv, columns=model.hidden),
        Product(role="o_proj", rows=model.hidden, columns=heads),
        Product(role="gate_up", rows=2 * model.intermediate, columns=model.hidden),
        Product(role="down_proj", rows=model.hidden, columns=model.intermediate),
    )
    return {p.role: p for p in made}


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
