"""Models: rows of ``data/models.csv``, and any transformers folder or config.json."""

import csv
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from workbench.catalog.kv_layers import kv_layers_of_config, kv_layers_of_row
from workbench.catalog.paths import DATA, located
from workbench.core.errors import NotAModel
from workbench.core.models import Experts, ModelSpec

NEEDED_COLUMNS = ("layers", "hidden", "heads", "vocab", "max_context", "params_total", "params_active")
NEEDED_FIELDS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
)
UNCOUNTED_FIELDS = ("n_routed_experts", "kv_lora_rank", "shared_expert_intermediate_size")
"""Of mixtures with latent attention or shared experts, whose parameters are not counted from a configuration."""
# Dense families whose parameter count follows from these fields: name -> (attention bias, query/key norms, norms per layer).
DENSE_FAMILIES: dict[str, tuple[bool, bool, int]] = {
    "llama": (False, False, 2),
    "mistral": (False, False, 2),
    "qwen2": (True, False, 2),
    "qwen3": (False, True, 2),
    "qwen3_moe": (False, True, 2),
    "phi3": (False, False, 2),
    "gemma2": (False, False, 4),
    "gemma3_text": (False, True, 4),
}


@cache
def catalog_models() -> dict[str, ModelSpec]:
    """The decoder language models of the catalogue by name (encoders, which keep no KV cache, are left out)."""
    with (DATA / "models.csv").open(newline="", encoding="utf-8") as file:
        return {row["model"]: _from_row(row) for row in csv.DictReader(file) if _is_decoder(row)}


def _is_decoder(row: Mapping[str, str]) -> bool:
    return all(row[k] for k in NEEDED_COLUMNS) and row["kv_bytes_per_token_bf16"] != "0"


def _from_row(row: Mapping[str, str]) -> ModelSpec:
    kv_bytes = row["kv_bytes_per_token_bf16"]
    return ModelSpec(
        name=row["model"],
        architecture=row["architecture"],
        n_layers=int(row["layers"]),
        hidden=int(row["hidden"]),
        n_heads=int(row["heads"]),
        n_kv_heads=int(row["kv_heads"] or row["heads"]),
        head_dim=int(row["head_dim"] or int(row["hidden"]) // int(row["heads"])),
        intermediate=int(row["intermediate"] or row["moe_intermediate"] or 0),
        vocab_size=int(row["vocab"]),
        max_context_tokens=int(row["max_context"]),
        tied_embeddings=row["tied_embeddings"] == "True",
        n_params=int(row["params_total"]),
        n_active_params=int(row["params_active"]),
        kv_elements_per_token=int(kv_bytes) // 2 if kv_bytes else None,
        kv_layers=kv_layers_of_row(row) if kv_bytes else None,
        experts=_experts_of_row(row),
        source=row["source"],
    )


def _experts_of_row(row: Mapping[str, str]) -> Experts | None:
    if not row["experts"]:
        return None
    width = row["moe_intermediate"] or row["intermediate"]
    return Experts(
        n_experts=int(row["experts"]),
        n_per_token=int(row["experts_per_token"]),
        intermediate=int(width),
        n_shared=int(row["shared_experts"] or 0),
        n_dense_layers=int(row["first_dense_layers"] or 0),
    )


def is_only_a_shape(place: str) -> bool:
    """Whether a model is a folder without weights, so that only its speed can be measured."""
    folder = Path(located(place))
    return folder.is_dir() and not any(folder.glob("*.safetensors"))


def model_spec_from(place: str) -> ModelSpec:
    """The shape of a folder, a config.json, a catalogue name or a hub id that is cached on this machine.

    Raises ``NotAModel`` with the missing fields or the reason why nothing could be read.
    """
    path = Path(located(place))
    config_file = path / "config.json" if path.is_dir() else path
    if config_file.is_file():
        try:
            config = dict(json.loads(config_file.read_text(encoding="utf-8")))
        except (UnicodeDecodeError, ValueError, TypeError) as error:
            raise NotAModel(
                f"{config_file} is not a model configuration: {error}.", remedy="Name a transformers model folder."
            ) from error
        return model_spec_from_config(config, name=path.name if path.is_dir() else path.parent.name, source=str(place))
    if path.is_dir():
        raise NotAModel(f"The folder {place} has no config.json.", remedy="Name a folder that save_pretrained wrote.")
    if place in catalog_models():
        return catalog_models()[place]
    if path.is_absolute() or place.startswith((".", "~")) or place.count("/") != 1:
        raise NotAModel(
            f"There is no model at {place}.", remedy="Name an existing folder, or a hub id such as Qwen/Qwen2.5-0.5B."
        )
    return _from_hub(place)


def _from_hub(name: str) -> ModelSpec:
    from huggingface_hub import hf_hub_download

    try:
        config = json.loads(Path(hf_hub_download(name, "config.json")).read_text(encoding="utf-8"))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotAModel(
            f"The model {name} cannot be fetched from the hub: {reason}",
            remedy="Check the name and the network, or name a folder.",
        ) from error
    return model_spec_from_config(config, name=name, source=f"huggingface.co/{name}")


def model_spec_from_config(config: Mapping[str, Any], *, name: str, source: str) -> ModelSpec:
    """A spec from the fields of a config.json; unknown architectures must at least have ``NEEDED_FIELDS``."""
    text = config.get("text_config", config)
    missing = [f for f in NEEDED_FIELDS if not isinstance(text.get(f), int)]
    architecture = str(text.get("model_type", config.get("model_type", "unknown")))
    if missing:
        raise NotAModel(
            f"The architecture {architecture!r} of {name} lacks the fields: {', '.join(missing)}.",
            remedy="Only decoder language models with these fields can be measured; add them to config.json if they are known.",
        )
    uncounted = [f for f in UNCOUNTED_FIELDS if text.get(f)]
    if uncounted:
        raise NotAModel(
            f"The architecture {architecture!r} of {name} has {', '.join(uncounted)}; such shapes are not counted.",
            remedy="Add a row for it to data/models.csv and name that row.",
        )
    heads = text["num_attention_heads"]
    kv_heads = text.get("num_key_value_heads") or heads
    head_dim = text.get("head_dim") or text["hidden_size"] // heads
    tied = bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False)))
    shape = {
        "n_layers": text["num_hidden_layers"],
        "hidden": text["hidden_size"],
        "n_heads": heads,
        "n_kv_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate": text["intermediate_size"],
        "vocab_size": text["vocab_size"],
    }
    experts = _experts_of_config(text)
    n_params = n_active = dense_parameters(architecture, tied=tied, **shape)
    if experts:
        # Every layer's feed-forward part becomes experts and a router.
        one, plain = 3 * shape["hidden"] * experts.intermediate, 3 * shape["hidden"] * shape["intermediate"]
        router = shape["hidden"] * experts.n_experts
        n_active += shape["n_layers"] * (experts.n_per_token * one + router - plain)
        n_params += shape["n_layers"] * (experts.n_experts * one + router - plain)
    return ModelSpec(
        name=name,
        architecture=architecture,
        **shape,
        max_context_tokens=int(text.get("max_position_embeddings") or 0),
        tied_embeddings=tied,
        n_params=n_params,
        n_active_params=n_active,
        experts=experts,
        kv_elements_per_token=2 * text["num_hidden_layers"] * kv_heads * head_dim,
        kv_layers=kv_layers_of_config(text, elements=2 * kv_heads * head_dim),
        source=source,
    )


def _experts_of_config(text: Mapping[str, Any]) -> Experts | None:
    n = text.get("num_experts") or text.get("num_local_experts")
    if not n:
        return None
    return Experts(
        n_experts=int(n),
        n_per_token=int(text["num_experts_per_tok"]),
        intermediate=int(text.get("moe_intermediate_size") or text["intermediate_size"]),
    )


def dense_parameters(
    architecture: str,
    *,
    n_layers: int,
    hidden: int,
    n_heads: int,
    n_kv_heads: int,
    head_dim: int,
    intermediate: int,
    vocab_size: int,
    tied: bool,
) -> int:
    """Parameters of a dense decoder with a gated feed-forward, counted from its shape.

    Families outside ``DENSE_FAMILIES`` are counted like Llama, without biases.
    """
    bias, qk_norm, n_norms = DENSE_FAMILIES.get(architecture, (False, False, 2))
    query, kv = n_heads * head_dim, n_kv_heads * head_dim
    attention = 2 * hidden * query + 2 * hidden * kv
    attention += (query + 2 * kv) * bias + 2 * head_dim * qk_norm
    layer = attention + 3 * hidden * intermediate + n_norms * hidden
    return vocab_size * hidden * (1 if tied else 2) + n_layers * layer + hidden
