"""The parameters of a model by part, and the matrix products that each token passes."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from transformers.pytorch_utils import Conv1D

from workbench.catalog.model_spec import Experts, LayerProduct
from workbench.core.errors import NotAModel
from workbench.core.language import gettext
from workbench.understanding.construct import Constructed

TOWER = re.compile(
    r"(^|\.)(vision|visual|video|image|img|audio|speech|vit|siglip|multi_?modal|mm_|embed_vision|embed_audio|aligner|connector|"
    r"projector|patch_embed|talker|token2wav|code2wav|resampler|perceiver|qformer|vpm|vqmodel|depth_decoder|codec)"
)
"""Names of parts that read or write images and sound, experts for images alone among them."""
ROUTED = re.compile(r"(^|\.)(experts|switch_mlp|local_experts)(\.|$)")
LAYER = re.compile(r"\.(\d+)\.")
ROLES: Mapping[str, str] = {
    **dict.fromkeys(
        ("q_proj", "k_proj", "v_proj", "query", "key", "value", "q_a_proj", "kv_a_proj_with_mqa", "q", "k", "v",
         "qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv", "in_proj_qkv"), "qkv"),
    **dict.fromkeys(("o_proj", "out_proj", "dense", "wo", "Wo", "attn_out", "o"), "o_proj"),
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "c_fc", "fc1", "dense_h_to_4h", "fc_in", "wi", "wi_0", "wi_1", "Wi",
                     "input_linear", "intermediate"), "gate_up"),
    **dict.fromkeys(("down_proj", "w2", "fc2", "dense_4h_to_h", "fc_out", "output_linear"), "down_proj"),
}  # fmt: skip
"""What linear layers of common names do; layers of one role and parent that read the same input are one product."""
PER_TOKEN = (
    "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_k", "moe_topk", "moe_top_k", "top_k_experts",
    "num_selected_experts", "n_activated_experts", "num_experts_per_topk", "moe_router_topk", "top_k",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A linear layer, or one matrix of all experts of a layer."""

    name: str
    rows: int
    columns: int
    n: int = 1
    """Matrices: the experts of a layer."""
    is_routed: bool = False

    @property
    def n_weights(self) -> int:
        """Number of elements of all matrices."""
        return self.rows * self.columns * self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parameters of a model by part, and its products."""

    total: int
    active: int
    """Parameters that a token of text passes."""
    ends: int
    """Parameters of embeddings and output head."""
    tower: int
    """Parameters of towers for images and sound."""
    experts: Experts | None
    products: tuple[LayerProduct, ...]


def linears(made: Constructed) -> list[Linear]:
    """Return every matrix that a token is multiplied by, the output head included, in the order of the model."""
    hidden = getattr(made.text, "hidden_size", 0)
    found = []
    for name, module in made.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            found.append(
                Linear(name=name, rows=module.out_features, columns=module.in_features, is_routed=bool(_expert(name)))
            )
        elif isinstance(module, Conv1D):
            found.append(Linear(name=name, rows=module.weight.shape[1], columns=module.weight.shape[0]))
        else:
            found += _stacked(name, module, hidden)
    return found


def _stacked(name: str, module: torch.nn.Module, hidden: int) -> Iterator[Linear]:
    """Yield the matrices that a module holds as one tensor for all its experts, and those of routers."""
    for key, parameter in module.named_parameters(recurse=False):
        path = f"{name}.{key}"
        if parameter.dim() == 3 and ("expert" in path or "moe" in path):
            n, a, b = parameter.shape
            is_second = re.search("down|w2|output", key) is not None
            # (experts, out, in), or (experts, in, out): the side that is as wide as the model is read by the first matrix.
            rows, columns = ((a, b) if b != hidden else (b, a)) if is_second else ((a, b) if b == hidden else (b, a))
            yield Linear(name=path, rows=rows, columns=columns, n=n, is_routed=True)
        elif parameter.dim() == 2 and (held := _experts_in_rows(module, parameter)):
            rows, columns = parameter.shape
            yield Linear(name=path, rows=rows // held, columns=columns, n=held, is_routed=True)
        elif parameter.dim() == 2 and key == "weight" and not isinstance(module, torch.nn.Embedding):
            yield Linear(name=name, rows=parameter.shape[0], columns=parameter.shape[1])


def _experts_in_rows(module: torch.nn.Module, parameter: torch.nn.Parameter) -> int | None:
    """Return the experts whose matrices lie one below the other in a tensor (DBRX); None for other tensors."""
    if "Expert" not in type(module).__name__:
        return None
    counts = [v for k, v in vars(module).items() if "num_experts" in k and isinstance(v, int) and v > 1]
    return next((n for n in counts if parameter.shape[0] > n and parameter.shape[0] % n == 0), None)


def in_tower(made: Constructed, name: str) -> bool:
    """Return whether a part belongs to a tower for images or sound."""
    if not made.has_towers:
        return False
    is_language = re.search(r"(^|\.)(language_model|lm_head)\.?", name) is not None
    return TOWER.search(name) is not None or (made.names_its_language_part and not is_language)


def _expert(name: str) -> str | None:
    """Return the path of the list of experts that a module of its own belongs to; None for other modules."""
    match = re.search(r"^(.*\bexperts)\.\d+\.", name)
    return match[1] if match else None


def parts_of(made: Constructed) -> Parts:
    """Return the parameters of a model by part, and its products.

    Raises:
        NotAModel: It has experts, and how many of them a token goes to is not known.
    """
    unique = {id(p): (name, p) for name, p in reversed(list(made.model.named_parameters(remove_duplicate=False)))}
    total = sum(p.numel() for _, p in unique.values())
    tower = sum(p.numel() for name, p in unique.values() if in_tower(made, name))
    ends = _ends(made)
    everything = [m for m in linears(made) if not in_tower(made, m.name)]
    routed = [m for m in everything if m.is_routed]
    experts = _experts(made, routed)
    skipped = _of_experts(made, routed) * (1 - experts.n_per_token / experts.n_experts) if experts else 0.0
    head = head_of(made)
    heads = {name for name, module in made.model.named_modules() if module is head}
    passed = [m for m in everything if not m.is_routed and m.name not in heads]
    return Parts(
        total=total,
        active=round(total - tower - skipped),
        ends=ends,
        tower=tower,
        experts=experts,
        products=_products(passed),
    )


def _of_experts(made: Constructed, routed: list[Linear]) -> int:
    """Return the parameters of routed experts, their biases included."""
    owners = {m.name.rsplit(".", 1)[0] if m.n > 1 else m.name: m.n for m in routed}
    stacked, total = {m.name for m in routed if m.n > 1}, 0
    for name, parameter in made.model.named_parameters():
        n = owners.get(name.rsplit(".", 1)[0])
        is_whole = n == 1 or name in stacked or (n == parameter.shape[0] and parameter.dim() > 1)
        total += parameter.numel() if is_whole else 0
    return total


def _ends(made: Constructed) -> int:
    """Return the parameters of input embeddings and output head, each tensor once."""
    tensors: dict[int, torch.nn.Parameter] = {}
    for module in made.model.modules():
        if isinstance(module, torch.nn.Embedding) and isinstance(module.weight, torch.nn.Parameter):
            tensors[id(module.weight)] = module.weight
    if isinstance(weight := getattr(head_of(made), "weight", None), torch.nn.Parameter):
        tensors[id(weight)] = weight
    names = {id(p): name for name, p in made.model.named_parameters()}
    return sum(t.numel() for key, t in tensors.items() if not in_tower(made, names.get(key, "")))


def head_of(made: Constructed) -> torch.nn.Module | None:
    """Return the output head; None where there is none."""
    get = getattr(made.model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    return head if isinstance(head, torch.nn.Module) else None


def _experts(made: Constructed, routed: list[Linear]) -> Experts | None:
    """Return the mixture that some matrices belong to; None where there are none."""
    if not routed:
        return None
    lists: Counter[str] = Counter()
    for m in routed:
        lists[_expert(m.name) or m.name.rsplit(".", 1)[0]] += m.n_weights
    own = {re.search(r"\bexperts\.(\d+)\.", m.name)[1] for m in routed if _expert(m.name)}  # type: ignore[index]
    n_experts = max(*(m.n for m in routed), len(own))
    n_layers = len(lists)
    each = sum(lists.values()) / n_layers / n_experts
    hidden = getattr(made.text, "hidden_size", 0) or 1
    shared = getattr(made.text, "n_shared_experts", None) or getattr(made.text, "num_shared_experts", None)
    return Experts(
        n_experts=n_experts,
        n_per_token=_per_token(made, n_experts),
        intermediate=round(each / 3 / hidden),
        n_shared=shared if isinstance(shared, int) else 0,
        n_dense_layers=max(0, int(getattr(made.text, "num_hidden_layers", n_layers)) - n_layers),
        n_layers=n_layers,
    )


def _per_token(made: Constructed, n_experts: int) -> int:
    """Return the experts of each token, as the router has it, else as the configuration names it."""
    places = [getattr(made.text, "ffn_config", None), made.text]
    values = [getattr(place, name, None) for place in places for name in PER_TOKEN]
    values += [
        getattr(m, key, None) for m in made.model.modules() if "outer" in type(m).__name__ for key in ("top_k", "topk")
    ]
    for value in values:
        each = value if isinstance(value, list) else [value]
        if each and all(isinstance(k, int) and 0 < k <= n_experts for k in each):
            n_idle = (
                getattr(made.text, "zero_expert_num", None) or 0
            )  # give back their input: on average the share of it
            return max(1, round(sum(each) / len(each) * n_experts / (n_experts + n_idle)))
    raise NotAModel(
        gettext("The model has {n} experts in a layer, and how many of them a token goes to is not known.").format(
            n=n_experts
        ),
        remedy=gettext("Add `num_experts_per_tok` to its config.json."),
    )


def _products(modules: list[Linear]) -> tuple[LayerProduct, ...]:
    """Return the products of all layers: those that read the same input and do the same are one."""
    layers: dict[tuple[str, str, int], list[Linear]] = {}
    for m in modules:
        parent, _, last = m.name.rpartition(".")
        role = ROLES.get(last, last)
        layers.setdefault((parent, role, m.columns if role in {"qkv", "gate_up"} else -1), []).append(m)
    counts: Counter[tuple[str, int, int]] = Counter()
    for (_, role, _), members in layers.items():
        if role in {"qkv", "gate_up"}:
            counts[role, sum(m.rows for m in members), members[0].columns] += 1
        else:
            for m in members:
                counts[role, m.rows, m.columns] += 1
    least = 0.001 * sum(rows * columns * n for (_, rows, columns), n in counts.items())
    found: dict[str, LayerProduct] = {}
    for (role, rows, columns), n in counts.items():
        if rows * columns * n >= least:  # less is routers and gates, whose time is that of a launch
            name = role if role not in found else f"{role} {rows} x {columns}"
            found[name] = LayerProduct(role=name, rows=rows, columns=columns, n_layers=n)
    return tuple(found.values())
