"""Time of decoding steps and of prompts, for many batches and contexts at once."""

from collections.abc import Mapping

import numpy as np

from workbench.core.models import ModelSpec
from workbench.estimate.calibration import Floats, product_s
from workbench.estimate.experts import experts_s
from workbench.estimate.kv_cache import kv_copies
from workbench.estimate.linear_layers import products
from workbench.estimate.machine import Machine

STEP_TOKENS = 8192  # of prompts that are read together
HEAD_READ, HEAD_MULTIPLY = (
    0.85,
    0.75,
)  # shares of bandwidth and peak that the output head reaches (measured: bf16 products)
BETWEEN = (10, 3)  # numbers of hidden and of intermediate width that norms, activations and sums move for a token
BETWEEN_FRACTION = 0.85  # of the bandwidth that they reach (a copy on an H200)
MLA_HEAD = 160  # mean of the widths of queries and values of DeepSeek-V3's heads: (192 + 128) / 2, its configuration


def _linear_s(
    model: ModelSpec, plan: Mapping[str, str], machine: Machine, tokens: Floats, *, are_prompts: bool = False
) -> Floats:
    """All products of one layer, cut over a tensor-parallel group: by rows, or by columns where outputs are added up."""
    total = np.zeros_like(tokens)
    n, ratios = machine.split.tensor, machine.known.prompt_product_ratio
    for role, p in products(model).items():
        by_columns = role in {"o_proj", "down_proj"}
        rows, columns = (p.rows, p.columns / n) if by_columns else (p.rows / n, p.columns)
        form = plan.get(role, "bf16")
        made = product_s(machine.known, form, rows=rows, columns=columns, tokens=tokens, ceilings=machine.ceilings)
        total += made * (ratios.get(form, ratios["bf16"]) if are_prompts else 1.0)
    return total


def _joined_s(model: ModelSpec, machine: Machine, tokens: Floats) -> Floats:
    """All-reduces of one layer: after attention, and after the feed-forward part unless whole experts exchange tokens."""
    n = 1 if machine.split.is_expert_parallel and model.experts else 2
    return n * machine.link.all_reduce_s(2.0 * tokens * model.hidden, n_devices=machine.split.tensor)


def _handed_over_s(model: ModelSpec, machine: Machine, tokens: Floats) -> Floats:
    """Once through all pipeline stages."""
    link = machine.stage_link or machine.link
    return (machine.split.pipeline - 1) * link.hand_over_s(2.0 * tokens * model.hidden / machine.split.tensor)


def _head_s(model: ModelSpec, machine: Machine, rows: Floats) -> Floats:
    weights = model.vocab_size * model.hidden / machine.split.tensor
    reading = 2 * weights / (HEAD_READ * machine.ceilings.bandwidth_bytes_per_s)
    multiplying = 2 * weights * rows / (HEAD_MULTIPLY * machine.ceilings.flop_per_s[16])
    return np.maximum(reading, multiplying)


def _kept_tokens(model: ModelSpec, context: Floats) -> Floats:
    """Elements of the cache of one sequence over all layers, windows cut off, by context."""
    total = np.zeros_like(context)
    for group in model.kv_layers or ():
        kept = context if group.window_tokens is None else np.minimum(context, group.window_tokens)
        total += group.n_layers * group.elements_per_token * kept
    return total


def expert_format(plan: Mapping[str, str]) -> str:
    """Experts have the format of the feed-forward part."""
    return plan.get("gate_up", plan.get("qkv", "bf16"))


def decode_step_s(
    model: ModelSpec,
    plan: Mapping[str, str],
    machine: Machine,
    *,
    batch: Floats,
    context: Floats,
    kv_bits: int,
    tokens_each: float = 1.0,
) -> Floats:
    """Time of a step in which every sequence of a replica gets one token.

    In a pipeline, as many batches as there are stages are on their way, each with its share of the sequences. Groups that
    share experts each attend to their share.

    Args:
        model: The shape, dense or with experts.
        plan: Format of each role; a role without one is bf16.
        machine: Devices and split.
        batch: Sequences, one number for each step asked for.
        context: Tokens of each sequence, likewise.
        kv_bits: 16 or 8.
        tokens_each: Tokens of each sequence that are looked at in a step; above 1 when drafts are verified.
    """
    k, split = machine.known, machine.split
    together = np.maximum(1.0, batch / split.pipeline)  # of one batch on its way
    own = np.maximum(1.0, together / split.data)  # of one tensor-parallel group
    copies = kv_copies(model, tensor_parallel=split.tensor)
    cache = own * _kept_tokens(model, context) * kv_bits / 8 * copies / split.tensor
    reading = cache / (k.kv_fraction[str(kv_bits)] * machine.ceilings.bandwidth_bytes_per_s)
    tokens = own * tokens_each
    layers = model.n_layers * (_linear_s(model, plan, machine, tokens) + k.layer_s + _joined_s(model, machine, tokens))
    layers = layers + experts_s(model, expert_format(plan), machine, together * tokens_each)
    ends = _head_s(model, machine, tokens) + k.step_s + k.sequence_s * together + _handed_over_s(model, machine, tokens)
    total: Floats = layers + reading + ends
    return total


def prompt_s(
    model: ModelSpec,
    plan: Mapping[str, str],
    machine: Machine,
    *,
    batch: Floats,
    context: Floats,
    cached_fraction: float = 0.0,
) -> Floats:
    """Time to read the prompts of a batch, ``STEP_TOKENS`` tokens in a step, until each has its first token.

    Args:
        model: The shape.
        plan: Format of each role.
        machine: Devices and split.
        batch: Prompts.
        context: Tokens of each.
        cached_fraction: Of each prompt, from its beginning, that a prefix cache holds already.
    """
    return machine.known.prompt_start_s + reading_s(
        model, plan, machine, batch=batch, context=context, cached_fraction=cached_fraction
    )


def reading_s(
    model: ModelSpec,
    plan: Mapping[str, str],
    machine: Machine,
    *,
    batch: Floats,
    context: Floats,
    cached_fraction: float = 0.0,
) -> Floats:
    """The same without what a batch of prompts costs once, as when it is read between decoding steps."""
    k, split = machine.known, machine.split
    own = batch / split.data
    fresh = np.maximum(1.0, context * (1 - cached_fraction))
    tokens = own * fresh
    steps = np.ceil(tokens / STEP_TOKENS)
    each = tokens / steps
    heads = MLA_HEAD if model.has_latent_cache else model.head_dim
    pairs = own * (_pairs(model, context) - _pairs(model, context - fresh))
    attention = 4.0 * pairs * model.n_heads * heads / split.tensor
    attention_s = attention / (k.attention_fraction * machine.ceilings.flop_per_s[16])
    hidden, inner = BETWEEN
    moved = 2.0 * each * (hidden * model.hidden + inner * model.intermediate / split.tensor)
    between = moved / (BETWEEN_FRACTION * machine.ceilings.bandwidth_bytes_per_s)
    layer = _linear_s(model, plan, machine, each, are_prompts=True) + between + _joined_s(model, machine, each)
    form = expert_format(plan)
    ratio = k.prompt_product_ratio.get(form, k.prompt_product_ratio["bf16"])
    experts = experts_s(model, form, machine, each * split.data) * ratio if model.experts else 0.0
    step = model.n_layers * layer + experts
    # Steps follow each other through the stages of a pipeline.
    through = (steps + split.pipeline - 1) / split.pipeline * (step + _handed_over_s(model, machine, each))
    total: Floats = np.where(split.pipeline > 1, through, steps * step) + attention_s / split.pipeline
    return total


def _pairs(model: ModelSpec, context: Floats) -> Floats:
    """Pairs of query and key of one prompt over all layers."""
    total = np.zeros_like(context)
    for group in model.kv_layers or ():
        window = np.minimum(context, group.window_tokens or np.inf)
        total += group.n_layers * (window * (window + 1) / 2 + (context - window) * window)
    return total
