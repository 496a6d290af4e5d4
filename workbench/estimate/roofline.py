"""The least time that vLLM's steps can take on a device: bytes that must be read, products that must be made."""

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.catalog.formats import FORMATS
from workbench.catalog.model_spec import ModelSpec
from workbench.estimate.kv_cache import kv_bytes_per_token
from workbench.estimate.linear_layers import products

HEAD_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What a device reaches at most."""

    bandwidth_bytes_per_s: float
    flop_per_s: Mapping[int, float]
    """Peak rate by the width in bits of the numbers that are multiplied (16, 8), without sparsity."""


def linear_floor_s(model: ModelSpec, plan: Mapping[str, str], *, tokens: int, ceilings: Ceilings) -> float:
    """Return the least time of all linear layers for so many tokens: each product takes the longer of reading and multiplying.

    Activations are left out. A role that ``plan`` gives no format is bfloat16.
    """
    total = 0.0
    for role, product in products(model).items():
        form = FORMATS[plan.get(role, "bf16")]
        read = product.n_weights * form.stored_bits(in_features=product.columns) / 8 / ceilings.bandwidth_bytes_per_s
        multiplied = 2.0 * product.n_weights * tokens / ceilings.flop_per_s[form.product_bits]
        total += product.n_layers * max(read, multiplied)
    return total


def step_floor_s(
    model: ModelSpec, plan: Mapping[str, str], *, batch: int, context_tokens: int, kv_bits: float, ceilings: Ceilings
) -> float:
    """Return the least time of a decode step: linear layers, the output head, and the whole cache read once."""
    head = model.vocab_size * model.hidden
    head_s = max(
        head * HEAD_BITS / 8 / ceilings.bandwidth_bytes_per_s, 2.0 * head * batch / ceilings.flop_per_s[HEAD_BITS]
    )
    cache = batch * context_tokens * kv_bytes_per_token(model, kv_bits=kv_bits)
    linear = linear_floor_s(model, plan, tokens=batch, ceilings=ceilings)
    return linear + head_s + cache / ceilings.bandwidth_bytes_per_s


def prefill_floor_s(
    model: ModelSpec, plan: Mapping[str, str], *, batch: int, context_tokens: int, ceilings: Ceilings
) -> float:
    """Return the least time to read prompts: linear layers of all tokens, and causal attention in 16 bits."""
    tokens = batch * context_tokens
    attention = 2.0 * model.n_layers * model.n_heads * model.head_dim * context_tokens * tokens  # half of 4 n² d
    linear = linear_floor_s(model, plan, tokens=tokens, ceilings=ceilings)
    return linear + attention / ceilings.flop_per_s[16]
