"""Linear layers replaced by torchao's quantized ones, and the bytes of their format."""

import math
from typing import TYPE_CHECKING

import torch
from torch._inductor import config as inductor_config

from workbench.compress.layers import Layers
from workbench.compress.methods import METHODS
from workbench.core.errors import NotAvailable, WorkbenchError

if TYPE_CHECKING:
    from torchao.core.config import AOBaseConfig


def _config(method: str, device: str) -> tuple["AOBaseConfig", int]:
    """Return torchao's configuration and the divisor that a layer's input width needs."""
    from torchao import quantization as ao
    from torchao.quantization.granularity import PerGroup, PerRow

    if method == "int8-weight":
        return ao.Int8WeightOnlyConfig(), 1
    if method == "int8-dynamic":
        return ao.Int8DynamicActivationInt8WeightConfig(), 1
    if method == "fp8-weight":
        return ao.Float8WeightOnlyConfig(), 1
    if method == "fp8-dynamic":
        return ao.Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()), 16
    group = {"int4-g32": 32, "int4-g128": 128}[method]
    if device == "cpu":
        return ao.IntxWeightOnlyConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]
            granularity=PerGroup(group),
        ), group
    return ao.Int4WeightOnlyConfig(group_size=group, int4_packing_format="tile_packed_to_4d"), group


class NothingQuantized(WorkbenchError):
    """A method that replaced no weight, or made none smaller."""


def quantize_linears(layers: Layers, model: torch.nn.Module, method: str, *, device: str) -> list[str]:
    """Quantize every linear layer but the output head and routers, in place; return the names of the replaced layers.

    Raises:
        NothingQuantized: no layer fits the method.
        NotAvailable: the method would leave a whole kind of layer as it is.
    """
    from torchao.quantization import quantize_

    config, divisor = _config(method, device)
    chosen = {name for name, layer in layers.linears.items() if layer.in_features % divisor == 0}
    _require_every_kind(layers, chosen, method, divisor=divisor)
    quantize_(model, config, filter_fn=lambda _, name: name in chosen)
    for name, first in layers.tied.items():
        model.get_submodule(name).weight = model.get_submodule(first).weight
    # torchao switches a search over kernel settings on, which takes minutes for each shape on a GPU.
    inductor_config.coordinate_descent_tuning = False
    inductor_config.coordinate_descent_check_all_directions = False
    inductor_config.force_fuse_int_mm_with_mul = False
    if method == "int8-dynamic" and device == "cuda":
        for name in (*chosen, *(n for n, first in layers.tied.items() if first in chosen)):
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _ManyRows(model.get_submodule(name)))
    return sorted(chosen)


def _require_every_kind(layers: Layers, chosen: set[str], method: str, *, divisor: int) -> None:
    label = METHODS[method].label
    if layers.n_unsplit_experts:
        raise NotAvailable(
            f"{label} cannot reach the experts of this architecture ({layers.n_unsplit_experts:,} weights): "
            "their tensors have a layout that is not known.",
            remedy="Measure the checkpoint in an engine that serves this architecture.",
        )
    if not layers.linears:
        raise NothingQuantized(
            "The model has no linear layer that can be quantized.",
            remedy="Choose a transformers causal language model.",
        )
    for part in layers.coverage(chosen):
        candidates = [p for p in layers.parts if p.kind == part.kind and p.module]
        if candidates and not part.n_quantized:
            widths = sorted({layers.linears[p.module].in_features for p in candidates if p.module})
            raise NotAvailable(
                f"{label} leaves every {part.kind} layer as it is: inputs of {', '.join(map(str, widths))} are no multiple of "
                f"{divisor}.",
                remedy="Choose a method with a smaller group.",
            )


class _ManyRows(torch.nn.Module):
    """A linear layer whose input is filled up to 32 rows: cuBLAS' INT8 product takes no fewer than 17."""

    def __init__(self, linear: torch.nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the layer's outputs for inputs: (..., in_features)."""
        rows = inputs.flatten(0, -2)
        missing = max(0, 32 - rows.shape[0])
        out: torch.Tensor = self.linear(torch.nn.functional.pad(rows, (0, 0, 0, missing)))
        return out[: rows.shape[0]].reshape(*inputs.shape[:-1], -1)


def stored_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of all distinct parameters and buffers, with the scales inside quantized tensors."""

    def inner(tensor: torch.Tensor) -> list[torch.Tensor]:
        if type(tensor) is torch.nn.Parameter or type(tensor) is torch.Tensor:
            return [tensor]
        if hasattr(tensor, "__tensor_flatten__"):
            names, _ = tensor.__tensor_flatten__()
            return [t for name in names for t in inner(getattr(tensor, name))]
        return [tensor]

    bytes_by_address: dict[int, int] = {}
    for tensor in model.state_dict(keep_vars=True).values():
        for part in inner(tensor):
            bytes_by_address[part.data_ptr()] = part.numel() * part.element_size()
    return sum(bytes_by_address.values())


def saved_bytes(layer: torch.nn.Linear, method: str) -> int:
    """Return the bytes that a method saves in a linear layer: those of its numbers less those of the format, scales included."""
    weight, form = layer.weight, METHODS[method]
    scale_bits = 16 / layer.in_features if form.weight_bits == int(form.weight_bits) else 0.0  # one for each row
    return weight.numel() * weight.element_size() - math.ceil(weight.numel() * (form.weight_bits + scale_bits) / 8)
