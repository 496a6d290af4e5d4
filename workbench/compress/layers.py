"""The weights of a model by kind of layer, and the linear layers that a method can replace."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from workbench.catalog.formats import EXPERT
from workbench.compress.routed_experts import NARROW_TOLERANCE, TOLERANCE, linear_layer, split_experts
from workbench.compress.rows import KindCoverage, LayerKind
from workbench.core.errors import NotAvailable
from workbench.understanding.parameters import PER_TOKEN

ROUTER = re.compile(r"(^|[._])(gate(?!_up|_proj)|router|gating|wg|switch)($|[._])")
EXPERTS = re.compile(r"(^|\.)\w*experts\.")
PROBE_TOKENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One tensor of a model."""

    kind: LayerKind
    n_weights: int
    read_fraction: float
    """Share of it that is read for one token."""
    module: str | None
    """Linear layer that it is the weight of, where that can be replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The layers of a model after ``plain_layers``."""

    linears: Mapping[str, torch.nn.Linear]
    """Layers that can be replaced, each weight once, in the order of the model."""
    tied: Mapping[str, str]
    """Further layers that share the weight of one of ``linears``."""
    parts: tuple[_Part, ...]
    kept: tuple[str, ...]
    """Linear layers that stay as they are: the output head, routers, and layers whose weight the model reads by itself."""
    n_unsplit_experts: int
    """Weights of experts in a layout that is not understood."""

    def require_known_experts(self) -> None:
        """Raise ``NotAvailable`` where experts lie in tensors whose layout is not known: no plan and no damage would reach them."""
        if self.n_unsplit_experts:
            raise NotAvailable(
                f"The experts of this architecture ({self.n_unsplit_experts:,} weights) have a layout that is not known, "
                "so that no plan of formats reaches them.",
                remedy="Measure a checkpoint in an engine that serves this architecture.",
            )

    def coverage(self, replaced: Collection[str]) -> tuple[KindCoverage, ...]:
        """Return by kind of layer the weights that a method has replaced."""
        chosen = set(replaced)
        rows = []
        for kind in dict.fromkeys(p.kind for p in self.parts):
            parts = [p for p in self.parts if p.kind == kind]
            done = [p for p in parts if p.module in chosen]
            rows.append(
                KindCoverage(
                    kind=kind,
                    n_weights=sum(p.n_weights for p in parts),
                    n_quantized=sum(p.n_weights for p in done),
                    n_read_per_token=sum(p.n_weights * p.read_fraction for p in parts),
                    n_quantized_read_per_token=sum(p.n_weights * p.read_fraction for p in done),
                )
            )
        return tuple(rows)


def plain_layers(model: torch.nn.Module) -> Layers:
    """Make every product with a stored matrix a plain linear layer, in place, and return the layers.

    GPT-2's ``Conv1D``, subclasses of ``nn.Linear`` that compute the same, and experts in one tensor are replaced by ``nn.Linear``
    with the same weights; outputs stay the same.
    """
    split_experts(model)
    was_conv1d = set()
    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            was_conv1d.add(name)
            _replace(model, name, linear_layer(module.weight.T.contiguous(), module.bias))
        elif isinstance(module, torch.nn.Linear) and type(module) is not torch.nn.Linear and _is_plain(module):
            layer = linear_layer(module.weight, module.bias)
            layer.weight = module.weight  # ties to other modules stay
            _replace(model, name, layer)
    return _layers(model, was_conv1d)


def _replace(model: torch.nn.Module, name: str, layer: torch.nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)


@torch.no_grad()
def _is_plain(module: torch.nn.Linear) -> bool:
    """Return whether a subclass of ``nn.Linear`` computes what ``nn.Linear`` does."""
    if module.weight.is_meta:
        return type(module).forward is torch.nn.Linear.forward or (
            "forward" in vars(type(module)) and _returns_one(module)
        )
    x = torch.randn((3, module.in_features), generator=torch.Generator().manual_seed(0)).to(module.weight)
    try:
        got = module(x)
    except (RuntimeError, TypeError, ValueError):
        return False
    if not isinstance(got, torch.Tensor):
        return False
    expected = torch.nn.functional.linear(x, module.weight, module.bias)
    error = (got.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-30)
    return bool(error < TOLERANCE.get(x.dtype, NARROW_TOLERANCE))


def _returns_one(module: torch.nn.Linear) -> bool:
    with suppress(RuntimeError, TypeError, ValueError):
        got = module(torch.empty((3, module.in_features), device="meta", dtype=module.weight.dtype))
        return isinstance(got, torch.Tensor) and got.shape == (3, module.out_features)
    return False


def head_of(model: torch.nn.Module) -> torch.nn.Module | None:
    """Return the output head: what the model names, else the linear layer outside all decoder layers that is as wide as the vocabulary."""
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    if isinstance(head, torch.nn.Module):
        return head
    words = getattr(getattr(model, "config", None), "vocab_size", None)
    outside = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and not re.search(r"\.\d+\.", n)]
    return next((m for m in reversed(outside) if m.out_features == words), None)


def _layers(model: torch.nn.Module, was_conv1d: Collection[str]) -> Layers:
    modules = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    n_experts = max((int(match["number"]) + 1 for name in modules if (match := EXPERT.match(name))), default=0)
    head = head_of(model)
    used = _called(model)
    linears: dict[str, torch.nn.Linear] = {}
    tied: dict[str, str] = {}
    kept, by_weight = [], {id(getattr(head, "weight", None)): ""}
    routers = set()
    for name, module in modules.items():
        is_router = bool(n_experts) and module.out_features in {1, n_experts} and ROUTER.search(name) is not None
        if is_router:
            routers.add(id(module.weight))
        is_plain = (
            type(module) is torch.nn.Linear
        )  # others were left because they compute something else with the weight
        if module is head or is_router or not is_plain or not (EXPERT.match(name) or name in used):
            kept.append(name)
        elif (first := by_weight.setdefault(id(module.weight), name)) == name:
            linears[name] = module
        elif first:
            tied[name] = first
        else:
            kept.append(name)
    places = {id(m.weight): n for n, m in linears.items()}
    top = _experts_per_token(model, n_experts)
    parts, unsplit = [], 0
    ends = _ends(model, head)
    for name, parameter in model.named_parameters():
        place = places.get(id(parameter))
        kind, share = _kind(name, parameter, place=place, ends=ends, was_conv1d=was_conv1d)
        if id(parameter) in routers or (
            kind == "other" and parameter.dim() == 2 and ROUTER.search(name.rpartition(".")[0])
        ):
            kind = "router"
        if kind == "experts":
            share = top or 1.0
        is_unsplit = kind == "experts" and parameter.dim() > 1
        if not place and (is_unsplit or (parameter.dim() > 2 and EXPERTS.search(name))):
            unsplit += parameter.numel()
        parts.append(_Part(kind=kind, n_weights=parameter.numel(), read_fraction=share, module=place))
    return Layers(linears=linears, tied=tied, parts=tuple(parts), kept=tuple(kept), n_unsplit_experts=unsplit)


def _ends(model: torch.nn.Module, head: torch.nn.Module | None) -> dict[int, tuple[LayerKind, float]]:
    """Return kind and share that is read for a token of the weights of embeddings and head, by the id of the tensor."""
    ends: dict[int, tuple[LayerKind, float]] = {}
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            ends[id(module.weight)] = ("embedding", 1 / max(1, module.weight.shape[0]))
    weight = getattr(head, "weight", None)
    if weight is not None:
        ends[id(weight)] = ("embedding and head" if id(weight) in ends else "head", 1.0)
    return ends


def _kind(
    name: str,
    parameter: torch.nn.Parameter,
    *,
    place: str | None,
    ends: Mapping[int, tuple[LayerKind, float]],
    was_conv1d: Collection[str],
) -> tuple[LayerKind, float]:
    if id(parameter) in ends:
        return ends[id(parameter)]
    if place is not None:
        return ("experts" if EXPERT.match(place) else "conv1d" if place in was_conv1d else "linear"), 1.0
    is_expert = EXPERTS.search(name) is not None and "shared" not in name
    return ("experts" if is_expert else "other"), 1.0


def _experts_per_token(model: torch.nn.Module, n_experts: int) -> float | None:
    """Return the share of the experts of a layer that a token goes to; None where that is not known."""
    whole = getattr(model, "config", None)
    config = whole.get_text_config() if isinstance(whole, PretrainedConfig) else whole
    for place in (getattr(config, "ffn_config", None), config):
        for name in PER_TOKEN:
            value = getattr(place, name, None)
            each = value if isinstance(value, list) else [value]
            if n_experts and each and all(isinstance(k, int) and 0 < k <= n_experts for k in each):
                return sum(each) / len(each) / n_experts
    return None


@torch.no_grad()
def _called(model: torch.nn.Module) -> set[str]:
    """Return the linear layers that a pass over a few tokens calls; all of them where no pass can be made."""
    names: set[str] = set()

    def note(name: str) -> "torch.utils.hooks.RemovableHandle":
        return modules[name].register_forward_pre_hook(lambda *_: names.add(name))

    modules = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    hooks = [note(name) for name in modules]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    ids = torch.zeros((1, PROBE_TOKENS), dtype=torch.long, device=device)
    is_whole = False
    for use_cache in (False, True):  # on no device some classes get through with the one, some with the other
        with suppress(Exception):
            is_whole = is_whole or model(input_ids=ids, use_cache=use_cache) is not None
    for hook in hooks:
        hook.remove()
    return names if is_whole else set(modules)
