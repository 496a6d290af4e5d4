"""Exports a causal language model to ONNX with its key-value cache as inputs and outputs, and checks the graph against the model."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from workbench.compress.onnx_check import CHECKED_TOKENS, check_graph, model_answers
from workbench.compress.onnx_graph import prepared
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.understanding.loading import loaded

OPSET = 20
EVERY_EXPERT = "workbench_every_expert"
"""Name under which transformers finds ``_every_expert``."""
GATE = "_apply_gate"
"""Method that transformers gives to gated experts."""
OTHER_METHODS = "Measure it with the methods that run in PyTorch."


class CachedStep(torch.nn.Module):
    """A forward pass as a pure function: from tokens and past keys and values to logits and the longer cache.

    The model builds its own masks and positions from the length of the past, so windows, chunks and position
    biases are those of its own code. All layers keep all keys: a window is a mask.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, past: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the logits and the new cache.

        Args:
            input_ids: (batch, new) token ids.
            past: keys and values, layer after layer, each (batch, kv_heads, past, head_dim).
        """
        cache = DynamicCache([(past[i], past[i + 1]) for i in range(0, len(past), 2)])
        out = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True)
        kept = out.past_key_values
        return (out.logits, *(t for layer in kept.layers for t in (layer.keys, layer.values)))


def cache_names(n_layers: int, when: str) -> list[str]:
    """Return the names of the cache tensors in the graph, in the order of ``CachedStep``."""
    return [f"{when}_{part}_{i}" for i in range(n_layers) for part in ("key", "value")]


@torch.no_grad()
def cached_tensors(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return the keys and values that two tokens leave behind, layer after layer.

    Raises:
        NotAvailable: the model keeps something else, or more, from step to step.
    """
    try:
        out = model(input_ids=torch.tensor([[0, 1]]), use_cache=True)
    except Exception as error:  # models raise many kinds for a cache that they cannot make
        cause = f"{model.config.model_type} cannot be run with a cache ({reason(error)})."
        raise NotAvailable(cause, remedy=OTHER_METHODS) from error
    kept = getattr(out, "past_key_values", None)
    layers = getattr(kept, "layers", [])
    others = sorted(
        {type(layer).__name__ for layer in layers if type(layer) not in {DynamicLayer, DynamicSlidingWindowLayer}}
    )
    if others or not layers:
        state = f"its cache has the kind {', '.join(others)}" if others else "it keeps no cache of keys and values"
        raise NotAvailable(
            f"{model.config.model_type} cannot be exported to ONNX here: {state}, and the graph carries keys and values only.",
            remedy=OTHER_METHODS,
        )
    return [t for layer in layers for t in (layer.keys, layer.values)]


def _refuse_positions_by_length(model: PreTrainedModel) -> None:
    """Raise ``NotAvailable`` for rotary positions whose scale changes with the length of the prompt: a graph has no such branch."""
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    kinds = {rope.get("rope_type"), *(part.get("rope_type") for part in rope.values() if isinstance(part, dict))}
    if by_length := [kind for kind in ("dynamic", "longrope") if kind in kinds]:
        raise NotAvailable(
            f"{model.config.model_type} cannot be exported to ONNX here: its rotary positions are scaled by the length of the prompt "
            f"({', '.join(by_length)}), and a graph has no such branch.",
            remedy=OTHER_METHODS,
        )


def _every_expert(
    experts: Any, states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Return the weighted sum of the chosen experts, by computing all of them: a graph has no loop over the chosen ones.

    Args:
        experts: Module with the stacked weights of all experts.
        states: (tokens, hidden).
        top_k_index: (tokens, chosen) experts.
        top_k_weights: (tokens, chosen) shares.
    """
    first = "gate_up_proj" if experts.has_gate else "up_proj"
    total = torch.zeros_like(states)
    for i in range(experts.num_experts):
        inner = _product(experts, states, first, i)
        inner = getattr(experts, GATE)(inner) if experts.has_gate else experts.act_fn(inner)
        share = torch.where(top_k_index == i, top_k_weights, 0).sum(-1, keepdim=True)
        total = total + _product(experts, inner, "down_proj", i) * share
    return total


def _product(experts: Any, states: torch.Tensor, name: str, i: int) -> torch.Tensor:
    weight = getattr(experts, name)[i]
    bias = getattr(experts, f"{name}_bias")[i] if experts.has_bias else None
    return torch.nn.functional.linear(states, weight.T if experts.is_transposed else weight, bias)


@contextmanager
def _computing_every_expert(model: PreTrainedModel) -> Iterator[None]:
    """Let the experts of a model be computed by ``_every_expert``, and restore its own way at the end."""
    ALL_EXPERTS_FUNCTIONS.register(EVERY_EXPERT, _every_expert)
    field = "_experts_implementation"  # which transformers reads, and sets only to what it knows itself
    configs = [m.config for m in model.modules() if hasattr(getattr(m, "config", None), field)]
    before = [getattr(config, field) for config in configs]
    try:
        for config in configs:
            setattr(config, field, EVERY_EXPERT)
        yield
    finally:
        for config, own in zip(configs, before, strict=True):
            setattr(config, field, own)


def export_onnx(model: PreTrainedModel, target: Path, *, n_checked: int = CHECKED_TOKENS) -> None:
    """Write ``target`` (weights beside it) from a float32 transformers model on the CPU, and check it against the model.

    Batch, new tokens and past tokens are dynamic; a past of length zero is a prefill.

    Args:
        model: The model.
        target: File of the graph.
        n_checked: Longest prompt on which the graph must give the model's own logits.

    Raises:
        NotAvailable: the model cannot be exported, or the graph does not compute what the model computes.
    """
    cached = cached_tensors(model)
    _refuse_positions_by_length(model)
    answers = model_answers(model, n_tokens=n_checked)
    graph = _exported(model, cached)
    onnx.save_model(graph, str(target), save_as_external_data=True, location=f"{target.name}.data", size_threshold=1024)
    try:
        check_graph(target, answers)
    except WorkbenchError:
        raise
    except Exception as error:  # ONNX Runtime has a kind for each code of its errors, without a common one
        raise NotAvailable(
            f"{model.config.model_type} cannot be exported to ONNX here: ONNX Runtime {onnxruntime.__version__} cannot run its graph "
            f"({reason(error)}).",
            remedy=OTHER_METHODS,
        ) from error


def _exported(model: PreTrainedModel, cached: Sequence[torch.Tensor]) -> onnx.ModelProto:
    past = [t.new_zeros((2, t.shape[1], 5, t.shape[3])) for t in cached]
    batch, new, old = (torch.export.Dim(name) for name in ("batch", "new", "past"))
    n_layers = len(past) // 2
    try:
        with _computing_every_expert(model), torch.no_grad():
            program = torch.onnx.export(
                CachedStep(model).eval(),
                (torch.zeros((2, 3), dtype=torch.long), past),
                input_names=["input_ids", *cache_names(n_layers, "past")],
                output_names=["logits", *cache_names(n_layers, "present")],
                dynamic_shapes={"input_ids": {0: batch, 1: new}, "past": [{0: batch, 2: old}] * len(past)},
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
            )
        assert program is not None
        return prepared(program.model_proto)
    except Exception as error:  # whatever the exporter raises is the reason why there is no graph
        raise NotAvailable(
            f"{model.config.model_type} cannot be exported to ONNX by torch {torch.__version__} ({reason(error)}).",
            remedy=OTHER_METHODS,
        ) from error


def export_folder(folder: str, target: Path, *, n_checked: int = CHECKED_TOKENS) -> None:
    """Write ``target`` from the model of a folder in float32, as ``export_onnx`` does."""
    export_onnx(loaded(folder, dtype=torch.float32), target, n_checked=n_checked)


def reason(error: Exception) -> str:
    """Return the innermost reason in one line, without colours; the next line too where the first one announces it."""
    while error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines() if line.strip()]
    said = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1]) or "no message"
    return f"{type(error).__name__}: {said[:200].rstrip('.')}"


def main() -> None:
    """Export the model of ``python -m workbench.compress.onnx_export MODEL_FOLDER TARGET.onnx``."""
    folder, target = sys.argv[1:3]
    try:
        export_folder(folder, Path(target))
    except WorkbenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
