"""Experts that a model keeps as one tensor, taken apart into one linear layer for each expert and matrix.

Serving formats store experts so (a scale for each expert and channel), and libraries that quantize see linear layers only.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import torch

MATRICES = {"gate_up_proj": "down_proj", "up_proj": "down_proj"}
"""Names of the first matrix of an expert, and of the second."""
CHECK_ROWS = 6
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}  # relative, of the outputs; narrower numbers: see below
NARROW_TOLERANCE = 0.03


def linear_layer(weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.nn.Linear:
    """Return a linear layer that holds a weight, (out, in), without a copy."""
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = torch.nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias.detach(), requires_grad=bias.requires_grad)
    return layer


def _parts(
    parameter: torch.nn.Parameter, bias: torch.nn.Parameter | None, *, is_transposed: bool
) -> Iterator[torch.nn.Linear]:
    """Yield the layer of each expert; the tensor is (experts, out, in), transposed (experts, in, out)."""
    for i in range(parameter.shape[0]):
        weight = parameter[i].T.contiguous() if is_transposed else parameter[i]
        yield linear_layer(weight, None if bias is None else bias[i])


def _matrix(module: torch.nn.Module, name: str) -> torch.nn.Parameter:
    parameter: torch.nn.Parameter = getattr(module, name)
    return parameter


def layout_of(fused: torch.nn.Module) -> bool | None:
    """Return whether a module keeps its experts as (experts, in, out); None where its tensors are not those of experts."""
    own = dict(fused.named_parameters(recurse=False))
    first = next((own[name] for name in MATRICES if name in own), None)
    second = own.get("down_proj")
    if first is None or second is None or first.dim() != 3 or second.dim() != 3:
        return None
    stated = getattr(fused, "is_transposed", None)
    if isinstance(stated, bool):
        return stated
    times = 2 if "gate_up_proj" in own else 1
    plain = first.shape[1] == times * second.shape[2] and first.shape[2] == second.shape[1]
    transposed = first.shape[2] == times * second.shape[1] and first.shape[1] == second.shape[2]
    return None if plain == transposed else transposed


class SplitExperts(torch.nn.Module):
    """The experts of a layer, each with linear layers of its own; children are named by number."""

    def __init__(self, fused: torch.nn.Module, *, is_transposed: bool) -> None:
        super().__init__()
        own = dict(fused.named_parameters(recurse=False))
        self._first = next(name for name in MATRICES if name in own)
        matrices = [
            list(_parts(own[name], own.get(f"{name}_bias"), is_transposed=is_transposed))
            for name in (self._first, "down_proj")
        ]
        self.n_experts = min(map(len, matrices))
        for i in range(self.n_experts):
            self.add_module(str(i), torch.nn.ModuleDict({self._first: matrices[0][i], "down_proj": matrices[1][i]}))
        self.rest = fused  # activations and constants; its matrices are dropped by ``drop_matrices``
        self._gives_back_rest = hasattr(fused, "identity_expert")

    def drop_matrices(self) -> None:
        """Free the tensors that the linear layers were made of."""
        for name in list(dict(self.rest.named_parameters(recurse=False))):
            if name.removesuffix("_bias") in {self._first, "down_proj"}:
                setattr(self.rest, name, None)

    def output(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        """Return the output of one expert: (tokens, width)."""
        expert: torch.nn.ModuleDict = getattr(self, str(number))
        first = expert[self._first](hidden)
        out: torch.Tensor = expert["down_proj"](self._activated(first))
        return out

    @torch.no_grad()
    def is_interleaved(self) -> bool:
        """Return whether rows of gate and up matrix alternate in the first matrix (gpt-oss), instead of lying one after the other."""
        expert: torch.nn.ModuleDict = getattr(self, "0")
        first = expert[self._first]
        assert isinstance(first, torch.nn.Linear)
        probe = torch.ones((1, first.out_features), dtype=first.weight.dtype, device=first.weight.device)
        changed = probe.clone()
        changed[0, 1] = 0.5
        differs = self._activated(probe) != self._activated(changed)
        return bool(differs[0, 0])

    def _act(self, x: torch.Tensor) -> torch.Tensor:
        function: Callable[..., torch.Tensor] = getattr(self.rest, "act_fn", torch.nn.functional.silu)
        return function(x)

    def _activated(self, first: torch.Tensor) -> torch.Tensor:
        if self._first == "up_proj":
            return self._act(first)
        gate: Callable[[torch.Tensor], torch.Tensor] | None = getattr(self.rest, "_apply_gate", None)
        if gate is not None:
            return gate(first)
        left, right = first.chunk(2, dim=-1)
        return self._act(left) * right


class ChosenExperts(SplitExperts):
    """Experts that are called with the numbers and weights of the experts of each token."""

    def __init__(self, fused: torch.nn.Module, *, is_transposed: bool) -> None:
        super().__init__(fused, is_transposed=is_transposed)
        self._call = inspect.signature(type(fused).forward)

    def forward(self, *inputs: object, **named: object) -> torch.Tensor:
        """Return the weighted sum of the outputs of each token's experts; hidden: (tokens, width), numbers and weights: (tokens, k)."""
        hidden, numbers, weights = list(self._call.bind(self, *inputs, **named).arguments.values())[1:4]
        assert isinstance(hidden, torch.Tensor)
        assert isinstance(numbers, torch.Tensor)
        assert isinstance(weights, torch.Tensor)
        out = torch.zeros_like(hidden)
        if hidden.is_meta:
            return out
        for number in sorted(set(numbers.flatten().tolist())):
            token, place = torch.where(numbers == number)
            if number < self.n_experts:
                value = self.output(number, hidden[token])
            elif self._gives_back_rest:
                value = hidden[token]
            else:
                continue
            out.index_add_(0, token, (value * weights[token, place, None]).to(out.dtype))
        return out

    @staticmethod
    def sample(fused: torch.nn.Module, width: int) -> tuple[torch.Tensor, ...]:
        """Return inputs to compare with the original module."""
        like = _matrix(fused, "down_proj")
        n = like.shape[0]
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn((CHECK_ROWS, width), generator=generator)
        numbers = torch.stack([torch.randperm(n, generator=generator)[: min(2, n)] for _ in range(CHECK_ROWS)])
        weights = torch.rand(numbers.shape, generator=generator)
        return hidden.to(like), numbers.to(like.device), weights.to(like)


class EveryExpert(SplitExperts):
    """Experts that each read a part of the rows, in the order of the experts (Llama 4)."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the outputs of all rows: (experts x tokens, width)."""
        if hidden.is_meta:
            return hidden
        parts = hidden.view(self.n_experts, -1, hidden.shape[-1])
        return torch.cat([self.output(i, part) for i, part in enumerate(parts)])

    def _activated(self, first: torch.Tensor) -> torch.Tensor:
        gate, up = first.chunk(2, dim=-1)
        return up * self._act(gate)

    @staticmethod
    def sample(fused: torch.nn.Module, width: int) -> tuple[torch.Tensor, ...]:
        """Return inputs to compare with the original module."""
        like = _matrix(fused, "down_proj")
        n = like.shape[0]
        return (torch.randn((2 * n, width), generator=torch.Generator().manual_seed(0)).to(like),)


class ParallelExperts(torch.nn.Module):
    """One matrix of all experts, called with rows that are sorted by expert (JetMoE); children are named by number."""

    def __init__(self, fused: torch.nn.Module, *, is_transposed: bool) -> None:
        super().__init__()
        layers = list(_parts(_matrix(fused, "weight"), None, is_transposed=is_transposed))
        self.n_experts, self.width = len(layers), layers[0].out_features
        self.experts = torch.nn.ModuleList(layers)

    def drop_matrices(self) -> None:
        """Do nothing: the original module is not kept."""

    def forward(self, inputs: torch.Tensor, sizes: list[int]) -> torch.Tensor:
        """Return the outputs of all rows; ``sizes`` has the rows of each expert."""
        if inputs.is_meta:
            return inputs.new_zeros((inputs.shape[0], self.width))
        parts: tuple[torch.Tensor, ...] = torch.split(inputs, sizes)
        return torch.cat([layer(part) for layer, part in zip(self.experts, parts, strict=True) if len(part)])

    @staticmethod
    def sample(fused: torch.nn.Module, width: int) -> tuple[object, ...]:
        """Return inputs to compare with the original module."""
        like = _matrix(fused, "weight")
        n = like.shape[0]
        return torch.randn((2 * n, width), generator=torch.Generator().manual_seed(0)).to(like), [2] * n


Split: TypeAlias = ChosenExperts | EveryExpert | ParallelExperts


def split_experts(model: torch.nn.Module) -> None:
    """Replace modules that keep all experts in one tensor by linear layers, in place; one whose outputs would differ stays."""
    trusted: dict[type[torch.nn.Module], bool] = {}
    for name, fused in list(model.named_modules()):
        made = _made(fused)
        if made is None:
            continue
        kind = type(fused)
        if kind not in trusted:
            trusted[kind] = _agrees(fused, made)
        if trusted[kind]:
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], made)
            made.drop_matrices()


def _made(fused: torch.nn.Module) -> Split | None:
    own: Mapping[str, torch.nn.Parameter] = dict(fused.named_parameters(recurse=False))
    inputs = [p for p in inspect.signature(type(fused).forward).parameters if p != "self"]
    if set(own) == {"weight"} and own["weight"].dim() == 3 and len(inputs) == 2 and "Experts" in type(fused).__name__:
        return ParallelExperts(fused, is_transposed=False)
    is_transposed = layout_of(fused)
    if is_transposed is None:
        return None
    if len(inputs) == 1:
        return EveryExpert(fused, is_transposed=is_transposed)
    return (
        ChosenExperts(fused, is_transposed=is_transposed)
        if len(inputs) == len(("hidden", "numbers", "weights"))
        else None
    )


@torch.no_grad()
def _agrees(fused: torch.nn.Module, made: Split) -> bool:
    """Return whether the linear layers give what the module gives on random rows.

    A shape without values is trusted; where rows come sorted by expert it must take the same inputs at least.
    """
    first = next(fused.parameters(recurse=False))
    if first.is_meta and not isinstance(made, ParallelExperts):
        return True
    width = next(m.in_features for m in made.modules() if isinstance(m, torch.nn.Linear))
    try:
        inputs = made.sample(fused, width)
        expected, got = fused(*inputs), made(*inputs)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return False
    if expected.shape != got.shape or first.is_meta:
        return bool(expected.shape == got.shape)
    scale = expected.double().norm().clamp_min(1e-30)
    return bool((expected.double() - got.double()).norm() / scale < TOLERANCE.get(first.dtype, NARROW_TOLERANCE))
