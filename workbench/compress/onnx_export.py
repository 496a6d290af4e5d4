"""Exports a causal language model to ONNX with its key-value cache as inputs and outputs."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel


class CachedStep(torch.nn.Module):
    """A forward pass as a pure function: from tokens and past keys and values to logits and the longer cache."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, past: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the logits and the new cache.

        Args:
            input_ids: (batch, new) token ids.
            past: keys and values, layer after layer, each (batch, kv_heads, past, head_dim).
        """
        n_new, n_past = input_ids.shape[1], past[0].shape[2]
        positions = torch.arange(n_new, device=input_ids.device) + n_past
        columns = torch.arange(n_past + n_new, device=input_ids.device)
        blocked = columns[None, :] > positions[:, None]
        mask = torch.zeros(blocked.shape, dtype=torch.float32).masked_fill(blocked, torch.finfo(torch.float32).min)
        cache = DynamicCache([(past[i], past[i + 1]) for i in range(0, len(past), 2)])
        out = self.model(
            input_ids=input_ids,
            attention_mask=mask[None, None],
            position_ids=positions[None],
            past_key_values=cache,
            use_cache=True,
        )
        kept = out.past_key_values
        return (out.logits, *(t for layer in kept.layers for t in (layer.keys, layer.values)))


def cache_names(n_layers: int, when: str) -> list[str]:
    """Return the names of the cache tensors in the graph, in the order of ``CachedStep``."""
    return [f"{when}_{part}_{i}" for i in range(n_layers) for part in ("key", "value")]


def export_onnx(model: PreTrainedModel, target: Path) -> None:
    """Write ``target`` (weights beside it) from a float32 transformers model on the CPU.

    Batch, new tokens and past tokens are dynamic; a past of length zero is a prefill.
    """
    config = model.config
    n_layers = config.num_hidden_layers
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (2, config.num_key_value_heads, 5, head_dim)
    past = [torch.zeros(shape) for _ in range(2 * n_layers)]
    batch, new, old = (torch.export.Dim(name) for name in ("batch", "new", "past"))
    program = torch.onnx.export(
        CachedStep(model).eval(),
        (torch.zeros((2, 3), dtype=torch.long), past),
        input_names=["input_ids", *cache_names(n_layers, "past")],
        output_names=["logits", *cache_names(n_layers, "present")],
        dynamic_shapes={"input_ids": {0: batch, 1: new}, "past": [{0: batch, 2: old}] * (2 * n_layers)},
        dynamo=True,
        opset_version=20,
        verbose=False,
    )
    assert program is not None
    program.save(str(target), external_data=True)


def main() -> None:
    """Export the model of ``python -m workbench.compress.onnx_export MODEL_FOLDER TARGET.onnx``."""
    folder, target = sys.argv[1:3]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    export_onnx(model, Path(target))


if __name__ == "__main__":
    main()
