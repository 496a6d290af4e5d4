"""Random LoRA adapters in the files of PEFT, for measurements of speed and memory."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

SCALE = 0.02
"""Standard deviation of the weights: small enough that answers stay text."""


def module_shapes(model: ModelSpec) -> dict[str, tuple[int, int]]:
    """Return inputs and outputs of the linear layers of a decoder layer of the Llama family, by their names.

    Raises:
        InvalidSpec: The model has routed experts or a latent cache, whose layers have other names.
    """
    if model.experts is not None or model.has_latent_cache:
        raise InvalidSpec(
            gettext("No random adapters can be made for {model}: its layers are not those of the Llama family.").format(
                model=model.name
            ),
            remedy=gettext("Name folders of adapters with --adapters."),
        )
    heads, kv = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    hidden, wide = model.hidden, model.intermediate
    return {
        "self_attn.q_proj": (hidden, heads),
        "self_attn.k_proj": (hidden, kv),
        "self_attn.v_proj": (hidden, kv),
        "self_attn.o_proj": (heads, hidden),
        "mlp.gate_proj": (hidden, wide),
        "mlp.up_proj": (hidden, wide),
        "mlp.down_proj": (wide, hidden),
    }


def write_random_adapter(folder: Path, model: ModelSpec, *, rank: int, seed: int) -> Path:
    """Write an adapter for all linear layers into a folder, which is returned."""
    rng, tensors = np.random.default_rng(seed), {}
    shapes = module_shapes(model)
    for layer in range(model.n_layers):
        for name, (n_in, n_out) in shapes.items():
            place = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{place}.lora_A.weight"] = _drawn(rng, rank, n_in)
            tensors[f"{place}.lora_B.weight"] = _drawn(rng, n_out, rank)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [name.rpartition(".")[2] for name in shapes],
        "base_model_name_or_path": model.name,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))
    return folder


def _drawn(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return rng.normal(0, SCALE, (rows, columns)).astype(np.float32)
