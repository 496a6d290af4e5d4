"""Time of decoding steps and of prompts, for many batches and contexts at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.serving_speed import FP8_KV, Served
from workbench.estimate.calibration import (
    FITTED,
    Calibration,
    Floats,
    cells_of,
    fitted_curves,
    fitted_surroundings,
    product_s,
)
from workbench.estimate.kv_cache import kv_copies
from workbench.estimate.linear_layers import products
from workbench.estimate.roofline import Ceilings

STEP_TOKENS = 8192  # of prompts that are read together
HEAD_READ, HEAD_MULTIPLY = (
    0.85,
    0.75,
)  # shares of bandwidth and peak that the output head reaches (measured: bf16 products)
DECODED = 16  # tokens after the prompt at which steps were timed, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What joins the devices of a tensor-parallel group."""

    latency_s: float = (
        12e-6  # an all-reduce of few bytes; the constant of the baseline in facts/estimation (uncalibrated)
    )
    bytes_per_s: float = 450e9  # one direction of NVLink 4 (data/hardware.csv)
    fraction: float = 0.7  # of it that a ring reaches (uncalibrated)

    def all_reduce_s(self, n_bytes: Floats, *, n_devices: int) -> Floats:
        """A ring: latency, and 2 (n - 1) / n of the bytes over the link."""
        if n_devices == 1:
            return np.zeros_like(n_bytes)
        sent = 2 * (n_devices - 1) / n_devices * n_bytes
        total: Floats = self.latency_s + sent / (self.fraction * self.bytes_per_s)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Devices that work as one: constants, published peaks, and the link between them."""

    known: Calibration
    ceilings: Ceilings
    n_devices: int = 1
    link: Link = Link()


def _linear_s(model: ModelSpec, plan: Mapping[str, str], machine: Machine, tokens: Floats) -> Floats:
    """All products of one layer, cut over the devices: by rows, or by columns where outputs are added up."""
    total = np.zeros_like(tokens)
    n = machine.n_devices
    for role, p in products(model).items():
        by_columns = role in {"o_proj", "down_proj"}
        rows, columns = (p.rows, p.columns / n) if by_columns else (p.rows / n, p.columns)
        total += product_s(
            machine.known, plan.get(role, "bf16"), rows=rows, columns=columns, tokens=tokens, ceilings=machine.ceilings
        )
    return total


def _joined_s(model: ModelSpec, machine: Machine, tokens: Floats) -> Floats:
    """Two all-reduces of a layer."""
    return 2 * machine.link.all_reduce_s(2.0 * tokens * model.hidden, n_devices=machine.n_devices)


def _head_s(model: ModelSpec, machine: Machine, rows: Floats) -> Floats:
    weights = model.vocab_size * model.hidden / machine.n_devices
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


def decode_step_s(
    model: ModelSpec, plan: Mapping[str, str], machine: Machine, *, batch: Floats, context: Floats, kv_bits: int
) -> Floats:
    """Time of a step in which every sequence gets one token.

    Args:
        model: A dense shape.
        plan: Format of each role; a role without one is bf16.
        machine: Devices.
        batch: Sequences, one number for each step asked for.
        context: Tokens of each sequence, likewise.
        kv_bits: 16 or 8.
    """
    k = machine.known
    copies = kv_copies(model, tensor_parallel=machine.n_devices)
    cache = batch * _kept_tokens(model, context) * kv_bits / 8 * copies / machine.n_devices
    reading = cache / (k.kv_fraction[str(kv_bits)] * machine.ceilings.bandwidth_bytes_per_s)
    layers = model.n_layers * (_linear_s(model, plan, machine, batch) + k.layer_s + _joined_s(model, machine, batch))
    total: Floats = layers + reading + _head_s(model, machine, batch) + k.step_s + k.sequence_s * batch
    return total


def prompt_s(model: ModelSpec, plan: Mapping[str, str], machine: Machine, *, batch: Floats, context: Floats) -> Floats:
    """Time to read the prompts of a batch, ``STEP_TOKENS`` tokens in a step, until each has its first token."""
    k = machine.known
    tokens = batch * context
    steps = np.ceil(tokens / STEP_TOKENS)
    each = tokens / steps
    pairs = batch * _pairs(model, context)
    attention = 4.0 * pairs * model.n_heads * model.head_dim / machine.n_devices
    attention_s = attention / (k.attention_fraction * machine.ceilings.flop_per_s[16])
    layer = _linear_s(model, plan, machine, each) + k.prompt_layer_s + _joined_s(model, machine, each)
    total: Floats = steps * (model.n_layers * layer + k.prompt_step_s) + attention_s
    return total


def _pairs(model: ModelSpec, context: Floats) -> Floats:
    """Pairs of query and key of one prompt over all layers."""
    total = np.zeros_like(context)
    for group in model.kv_layers or ():
        window = np.minimum(context, group.window_tokens or np.inf)
        total += group.n_layers * (window * (window + 1) / 2 + (context - window) * window)
    return total


def calibrated(
    device_id: str,
    *,
    ceilings: Ceilings,
    gemm: Sequence[tuple[Run, ModelSpec]],
    steps: Run,
    model: ModelSpec,
    fitted_to: Sequence[str] = FITTED,
) -> Calibration:
    """Constants of a device from its runs.

    Args:
        device_id: Row of the hardware catalogue.
        ceilings: Its published peaks.
        gemm: Runs of products with the models whose shapes they have.
        steps: A run of vLLM's steps.
        model: Its shape.
        fitted_to: Precisions of ``steps`` that are looked at; the others stay unseen.
    """
    curves, tables = fitted_curves(gemm, ceilings)
    known = Calibration(
        device_id=device_id,
        curves=curves,
        tables=tables,
        layer_s=1e-6,
        step_s=1e-4,
        sequence_s=1e-6,
        kv_fraction={"16": 0.8, "8": 0.7},
        prompt_layer_s=1e-6,
        prompt_step_s=1e-3,
        attention_fraction=0.4,
        log_error_step=0.0,
        log_error_prompt=0.0,
        log_error_unseen_step=0.0,
        log_error_unseen_prompt=0.0,
        sources=[*(run.id for run, _ in gemm), steps.id],
    )
    cells = {name: cells_of(steps, name) for name in fitted_to}

    def all_cells(what: str) -> Floats:
        return np.concatenate([c[what] for c in cells.values()])

    def with_steps(theta: Floats) -> Calibration:
        layer, step, sequence, sixteen, eight = (float(v) for v in theta)
        return replace(known, layer_s=layer, step_s=step, sequence_s=sequence, kv_fraction={"16": sixteen, "8": eight})

    def steps_of(theta: Floats) -> Floats:
        machine = Machine(known=with_steps(theta), ceilings=ceilings)
        return np.concatenate(
            [
                decode_step_s(
                    model,
                    plan_of(name, steps),
                    machine,
                    batch=c["batch"],
                    context=c["context_tokens"] + DECODED,
                    kv_bits=kv_bits_of(name),
                )
                for name, c in cells.items()
            ]
        )

    theta, error = fitted_surroundings([3e-6, 3e-4, 1e-5, 0.8, 0.7], steps_of, all_cells("tpot_p50_s"))
    known = replace(with_steps(np.array(theta)), log_error_step=error)

    def with_prompts(theta: Floats) -> Calibration:
        layer, step, attention = (float(v) for v in theta)
        return replace(known, prompt_layer_s=layer, prompt_step_s=step, attention_fraction=attention)

    def prompts_of(theta: Floats) -> Floats:
        machine = Machine(known=with_prompts(theta), ceilings=ceilings)
        return np.concatenate(
            [
                prompt_s(model, plan_of(name, steps), machine, batch=c["batch"], context=c["context_tokens"])
                for name, c in cells.items()
            ]
        )

    theta, error = fitted_surroundings([3e-5, 5e-3, 0.4], prompts_of, all_cells("prefill_s"))
    known = replace(with_prompts(np.array(theta)), log_error_prompt=error)
    unseen = [s for s in steps.spec["served"] if s not in fitted_to and Served.read(s).folder is None]
    if not unseen:
        return replace(known, log_error_unseen_step=known.log_error_step, log_error_unseen_prompt=error)
    off = [log_errors(known, ceilings, steps, model, name) for name in unseen]
    step_rms, prompt_rms = (float(np.sqrt(np.mean(np.square(np.concatenate([o[i] for o in off]))))) for i in (0, 1))
    return replace(known, log_error_unseen_step=step_rms, log_error_unseen_prompt=prompt_rms)


def log_errors(
    known: Calibration, ceilings: Ceilings, steps: Run, model: ModelSpec, served: str
) -> tuple[Floats, Floats]:
    """Logarithms of predicted over measured of one precision of a run: of its steps, and of its prompts."""
    machine, cells, plan = Machine(known=known, ceilings=ceilings), cells_of(steps, served), plan_of(served, steps)
    batch, context = cells["batch"], cells["context_tokens"]
    step = decode_step_s(model, plan, machine, batch=batch, context=context + DECODED, kv_bits=kv_bits_of(served))
    prompt = prompt_s(model, plan, machine, batch=batch, context=context)
    return np.log(step / cells["tpot_p50_s"]), np.log(prompt / cells["prefill_s"])


def plan_of(served: str, run: Run) -> dict[str, str]:
    """The format of each role of a precision of a run."""
    name = Served.read(served).format or "bf16"
    if name == "mixed":
        return dict(run.spec["plan"])
    return dict.fromkeys(("qkv", "o_proj", "gate_up", "down_proj"), name)


def kv_bits_of(served: str) -> int:
    """Width of the cache's numbers of a precision."""
    return 8 if served.endswith(FP8_KV) else 16
