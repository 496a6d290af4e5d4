"""Time of decode steps and of prompts, for many batches and contexts at once."""

from collections.abc import Mapping

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.estimate.calibration import Floats, product_s
from workbench.estimate.experts import experts_s
from workbench.estimate.linear_layers import n_expert_layers, products
from workbench.estimate.machine import Machine
from workbench.estimate.paged_cache import kv_copies

STEP_TOKENS = 8192  # of prompts that are read together
HEAD_READ, HEAD_MULTIPLY = (
    0.85,
    0.75,
)  # shares of bandwidth and peak that the output head reaches (measured: bf16 products)
BETWEEN = (10, 3)  # numbers of hidden and of intermediate width that norms, activations and sums move for a token
BETWEEN_FRACTION = 0.85  # of the bandwidth that they reach (a copy on an H200)
EXPERT_PROMPTS = 1.25
"""Grouped products of experts over prompts, over plain products of as much work (128 narrow and 8 wide experts on an H200:
data/measured/left_out/serving_speed_qwen3-30b-a3b-shape_h200.json, data/measured/load_mixtral-8x7b-shape_*)."""
BETWEEN_EXPERTS = (3, 6)
"""Numbers of hidden and of intermediate width that gathering, activation and summing move for a token and each of its experts."""
MLA_HEAD = 160  # mean of the widths of queries and values of DeepSeek-V3's heads: (192 + 128) / 2, its configuration


def _linear_s(
    model: ModelSpec, plan: Mapping[str, str], machine: Machine, tokens: Floats, *, are_prompts: bool = False
) -> Floats:
    """Return the time of all products of all layers, cut over a tensor-parallel group: by rows, or by columns where outputs are added up."""
    total = np.zeros_like(tokens)
    n = machine.split.tensor
    for role, p in products(model).items():
        by_columns = role.startswith(("o_proj", "down_proj"))
        rows, columns = (p.rows, p.columns / n) if by_columns else (p.rows / n, p.columns)
        form = machine.kernel(plan.get(role, "bf16"))
        total += p.n_layers * product_s(
            machine.known,
            form,
            rows=rows,
            columns=columns,
            tokens=tokens,
            ceilings=machine.ceilings,
            are_prompts=are_prompts,
        )
    return total


def _joined_s(model: ModelSpec, machine: Machine, tokens: Floats) -> Floats:
    """Return the all-reduces of one layer: after attention, and after the feed-forward part unless whole experts exchange tokens."""
    n = 1 if machine.split.is_expert_parallel and model.experts else 2
    return n * machine.link.all_reduce_s(2.0 * tokens * model.hidden, n_devices=machine.split.tensor)


def _handed_over_s(model: ModelSpec, machine: Machine, tokens: Floats) -> Floats:
    """Return the time to pass all pipeline stages once."""
    link = machine.stage_link or machine.link
    return (machine.split.pipeline - 1) * link.hand_over_s(2.0 * tokens * model.hidden / machine.split.tensor)


def _head_s(model: ModelSpec, machine: Machine, rows: Floats) -> Floats:
    weights = model.vocab_size * model.hidden / machine.split.tensor
    reading = 2 * weights / (HEAD_READ * machine.ceilings.bandwidth_bytes_per_s)
    multiplying = 2 * weights * rows / (HEAD_MULTIPLY * machine.ceilings.flop_per_s[16])
    return np.maximum(reading, multiplying)


def _kept_tokens(model: ModelSpec, context: Floats) -> Floats:
    """Return the elements of the cache of one sequence over all layers, windows cut off, by context."""
    total = np.zeros_like(context)
    for group in model.kv_layers or ():
        kept = context if group.window_tokens is None else np.minimum(context, group.window_tokens)
        total += group.n_layers * group.elements_per_token * kept
    return total


def expert_format(plan: Mapping[str, str]) -> str:
    """Return the format of the experts: that of the feed-forward part."""
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

    In a pipeline, as many batches as there are stages are on their way, each with its share of the sequences. Groups
    that share experts each attend to their share. ``batch`` (sequences) and ``context`` (tokens of each) have one
    number for each step asked for; a role that ``plan`` gives no format is bf16; ``tokens_each`` is above 1 when
    drafts are verified.
    """

    def alone(m: Machine) -> Floats:
        size = {"batch": batch, "context": context}
        return _own_decode_step_s(model, plan, m, kv_bits=kv_bits, tokens_each=tokens_each, **size)

    return machine.bounded(alone)


def _own_decode_step_s(
    model: ModelSpec,
    plan: Mapping[str, str],
    machine: Machine,
    *,
    batch: Floats,
    context: Floats,
    kv_bits: int,
    tokens_each: float,
) -> Floats:
    """Return the time of a decode step by the constants of the machine alone."""
    k, split = machine.known, machine.split
    together = np.maximum(1.0, batch / split.pipeline)  # of one batch on its way
    own = np.maximum(1.0, together / split.data)  # of one tensor-parallel group
    copies = kv_copies(model, tensor_parallel=split.tensor)
    cache = own * _kept_tokens(model, context) * kv_bits / 8 * copies / split.tensor
    reading = cache / (k.kv_fraction[str(kv_bits)] * machine.ceilings.bandwidth_bytes_per_s)
    total: Floats = _own_decoding_s(model, plan, machine, batch=batch, tokens_each=tokens_each) + reading
    return total + k.sequence_s * together


def decoding_s(
    model: ModelSpec, plan: Mapping[str, str], machine: Machine, *, batch: Floats, tokens_each: float = 1.0
) -> Floats:
    """Return the part of a decode step that is there without any cache: products, all-reduces, head and launches."""

    def alone(m: Machine) -> Floats:
        return _own_decoding_s(model, plan, m, batch=batch, tokens_each=tokens_each)

    return machine.bounded(alone)


def _own_decoding_s(
    model: ModelSpec, plan: Mapping[str, str], machine: Machine, *, batch: Floats, tokens_each: float
) -> Floats:
    """Return the part of a decode step without any cache by the constants of the machine alone."""
    k, split = machine.known, machine.split
    together = np.maximum(1.0, batch / split.pipeline)
    tokens = np.maximum(1.0, together / split.data) * tokens_each
    layers = _linear_s(model, plan, machine, tokens)
    layers = layers + model.n_layers * (k.layer_s + _joined_s(model, machine, tokens))
    layers = layers + experts_s(model, expert_format(plan), machine, together * tokens_each)
    total: Floats = layers + _head_s(model, machine, tokens) + k.step_s + _handed_over_s(model, machine, tokens)
    return total


def prompt_s(
    model: ModelSpec,
    plan: Mapping[str, str],
    machine: Machine,
    *,
    batch: Floats,
    context: Floats,
    cached_fraction: float | Floats = 0.0,
) -> Floats:
    """Time to read ``batch`` prompts of ``context`` tokens, ``STEP_TOKENS`` in a step, until each has its first token.

    A prefix cache holds ``cached_fraction`` of each prompt, from its beginning, already.
    """
    whole, _ = prompt_and_reading_s(model, plan, machine, batch=batch, context=context, cached_fraction=cached_fraction)
    return whole


def reading_s(
    model: ModelSpec,
    plan: Mapping[str, str],
    machine: Machine,
    *,
    batch: Floats,
    context: Floats,
    cached_fraction: float | Floats = 0.0,
) -> Floats:
    """Return the prefill time without what a batch of prompts costs once, as when it is interleaved with decode steps."""
    _, reading = prompt_and_reading_s(
        model, plan, machine, batch=batch, context=context, cached_fraction=cached_fraction
    )
    return reading


def prompt_and_reading_s(
    model: ModelSpec,
    plan: Mapping[str, str],
    machine: Machine,
    *,
    batch: Floats,
    context: Floats,
    cached_fraction: float | Floats = 0.0,
) -> tuple[Floats, Floats]:
    """Return what ``prompt_s`` and ``reading_s`` return, computed once."""

    def alone(m: Machine) -> Floats:
        reading = _own_reading_s(model, plan, m, batch=batch, context=context, cached_fraction=cached_fraction)
        return np.stack([m.known.prompt_start_s + reading, reading])

    whole, reading = machine.bounded(alone)
    return whole, reading


def _own_reading_s(
    model: ModelSpec,
    plan: Mapping[str, str],
    machine: Machine,
    *,
    batch: Floats,
    context: Floats,
    cached_fraction: float | Floats,
) -> Floats:
    """Return the prefill time by the constants of the machine alone."""
    split = machine.split
    own = batch / split.data
    fresh = np.maximum(1.0, context * (1 - cached_fraction))
    tokens = own * fresh
    steps = np.ceil(tokens / STEP_TOKENS)
    each = tokens / steps
    pairs = own * (_pairs(model, context) - _pairs(model, context - fresh))
    attention_s = _attention_s(model, machine, pairs)
    step = _own_prompt_products_s(model, plan, machine, tokens=each)
    # Steps follow each other through the stages of a pipeline.
    through = (steps + split.pipeline - 1) / split.pipeline * (step + _handed_over_s(model, machine, each))
    total: Floats = np.where(split.pipeline > 1, through, steps * step) + attention_s / split.pipeline
    return total


def prompt_products_s(model: ModelSpec, plan: Mapping[str, str], machine: Machine, *, tokens: Floats) -> Floats:
    """Return the time in which so many tokens of prompts pass all layers together, without their attention."""
    return machine.bounded(lambda m: _own_prompt_products_s(model, plan, m, tokens=tokens))


def _own_prompt_products_s(model: ModelSpec, plan: Mapping[str, str], machine: Machine, *, tokens: Floats) -> Floats:
    """Return the time of prompts in all layers, without attention, by the constants of the machine alone."""
    k, split = machine.known, machine.split
    hidden, inner = BETWEEN
    moved = 2.0 * tokens * (hidden * model.hidden + inner * model.intermediate / split.tensor)
    between = moved / (BETWEEN_FRACTION * machine.ceilings.bandwidth_bytes_per_s)
    linear = _linear_s(model, plan, machine, tokens, are_prompts=True)
    form = machine.kernel(expert_format(plan))
    ratio = k.prompt_product_ratio.get(form, k.prompt_product_ratio["bf16"])
    experts = experts_s(model, form, machine, tokens * split.data) * ratio * EXPERT_PROMPTS + _between_experts_s(
        model, machine, tokens
    )
    total: Floats = linear + model.n_layers * (between + _joined_s(model, machine, tokens)) + experts
    return total


def _between_experts_s(model: ModelSpec, machine: Machine, tokens: Floats) -> Floats:
    """Return the time in which tokens are brought to their experts and back in all layers; zeros for a dense model."""
    if model.experts is None:
        return np.zeros_like(tokens)
    hidden, inner = BETWEEN_EXPERTS
    each = hidden * model.hidden + inner * model.experts.intermediate / machine.split.tensor
    moved = 2.0 * tokens * model.experts.n_per_token * each
    total: Floats = n_expert_layers(model) * moved / (BETWEEN_FRACTION * machine.ceilings.bandwidth_bytes_per_s)
    return total


def prompt_attention_s(model: ModelSpec, machine: Machine, *, context: Floats) -> Floats:
    """Return the time of the attention of one prompt of so many tokens over all layers."""
    return _attention_s(model, machine, _pairs(model, context))


def _attention_s(model: ModelSpec, machine: Machine, pairs: Floats) -> Floats:
    heads = MLA_HEAD if model.has_latent_cache else model.head_dim
    flop = 4.0 * pairs * model.n_heads * heads / machine.split.tensor
    total: Floats = flop / (machine.known.attention_fraction * machine.ceilings.flop_per_s[16])
    return total


def _pairs(model: ModelSpec, context: Floats) -> Floats:
    """Return the pairs of query and key of one prompt over all layers."""
    total = np.zeros_like(context)
    for group in model.kv_layers or ():
        window = np.minimum(context, group.window_tokens or np.inf)
        total += group.n_layers * (window * (window + 1) / 2 + (context - window) * window)
    return total
