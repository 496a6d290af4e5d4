"""Constants of a device from its runs, and how far predictions are from a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import model_spec_from
from workbench.catalog.served import FP8_KV, Served
from workbench.core.runs import Run
from workbench.estimate.calibration import (
    FITTED,
    FITTED_PROMPTS,
    Calibration,
    Cells,
    Floats,
    cells_of,
    fitted_curves,
    fitted_surroundings,
)
from workbench.estimate.linear_layers import one_precision
from workbench.estimate.machine import Link, Machine, Split
from workbench.estimate.roofline import Ceilings
from workbench.estimate.rows import AllReduceTime, StepTime
from workbench.estimate.step_time import decode_step_s, prompt_s

DECODED = 16  # tokens after the prompt at which steps were timed, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Runs of one device, with the shapes that they are of."""

    gemm: Sequence[Run]
    steps: Run
    model: ModelSpec
    """Shape of the model of ``steps``."""
    links: Sequence[AllReduceTime] = ()
    """Times of all-reduces."""


def fit_calibration(
    device_id: str,
    evidence: Evidence,
    *,
    ceilings: Ceilings,
    fitted_to: Sequence[str] = FITTED,
    reference: Calibration | None = None,
) -> Calibration:
    """Return the constants of a device that are fitted to its runs.

    Decoding is fitted to the precisions ``fitted_to``; the others stay unseen. ``reference`` is another device, whose
    ratios of 8 to 16 bits are taken where 8 bits were not measured here.
    """
    curves, tables = fitted_curves(evidence.gemm, ceilings)
    measured = list(dict.fromkeys(row.served for row in evidence.steps.rows(StepTime)))
    known = Calibration(
        device_id=device_id,
        curves=curves,
        tables=tables,
        layer_s=1e-6,
        step_s=1e-4,
        sequence_s=1e-6,
        kv_fraction={"16": 0.8, "8": 0.7},
        prompt_start_s=1e-2,
        prompt_product_ratio={"bf16": 1.0},
        attention_fraction=0.5,
        log_error_step=0.0,
        log_error_prompt=0.0,
        log_error_unseen_step=0.0,
        log_error_unseen_prompt=0.0,
        sources=[*(run.id for run in evidence.gemm), evidence.steps.id],
        all_reduces=all_reduces(evidence.links),
    )
    known = _with_steps(known, evidence, [s for s in fitted_to if s in measured], ceilings, reference)
    known = _with_prompts(known, evidence, [s for s in FITTED_PROMPTS if s in measured], ceilings, reference)
    unseen = [s for s in measured if s not in fitted_to and s not in FITTED_PROMPTS and Served.read(s).folder is None]
    unseen = [s for s in unseen if {*plan_of(s, evidence.steps).values()} <= {*curves}]
    step, prompt = known.log_error_step, known.log_error_prompt
    if unseen:
        off = [log_errors(known, ceilings, evidence.steps, evidence.model, name) for name in unseen]
        step, prompt = (float(np.sqrt(np.mean(np.square(np.concatenate(errors))))) for errors in zip(*off, strict=True))
    elif reference is not None:  # what the fit does not see is as uncertain as where it was looked at
        step, prompt = max(step, reference.log_error_unseen_step), max(prompt, reference.log_error_unseen_prompt)
    return replace(known, log_error_unseen_step=step, log_error_unseen_prompt=prompt)


def _steps_s(evidence: Evidence, name: str, machine: Machine, cells: Cells) -> Floats:
    """Return the predicted decode steps of the cells of a precision."""
    batch, context = cells.batch, cells.context_tokens + DECODED
    plan, bits = plan_of(name, evidence.steps), kv_bits_of(name)
    return decode_step_s(evidence.model, plan, machine, batch=batch, context=context, kv_bits=bits)


def _prompts_s(evidence: Evidence, name: str, machine: Machine, cells: Cells) -> Floats:
    """Return the predicted prefill times of the cells of a precision."""
    plan = plan_of(name, evidence.steps)
    return prompt_s(evidence.model, plan, machine, batch=cells.batch, context=cells.context_tokens)


def _with_steps(
    known: Calibration, evidence: Evidence, names: Sequence[str], ceilings: Ceilings, reference: Calibration | None
) -> Calibration:
    """Return the constants with those of decoding: what surrounds the products, and the bandwidth share of reading the cache."""
    cells = {name: cells_of(evidence.steps, name) for name in names}
    has_8_bits = any(name.endswith(FP8_KV) for name in names)
    ratio = reference.kv_fraction["8"] / reference.kv_fraction["16"] if reference else 0.75

    def constants(theta: Floats) -> Calibration:
        layer, step, sequence, sixteen, *eight = (float(v) for v in theta)
        fractions = {"16": sixteen, "8": eight[0] if eight else ratio * sixteen}
        return replace(known, layer_s=layer, step_s=step, sequence_s=sequence, kv_fraction=fractions)

    def steps_of(theta: Floats) -> Floats:
        machine = Machine(known=constants(theta), ceilings=ceilings)
        return np.concatenate([_steps_s(evidence, name, machine, c) for name, c in cells.items()])

    start = [3e-6, 3e-4, 1e-5, 0.8, *([0.7] if has_8_bits else [])]
    theta, error = fitted_surroundings(start, steps_of, np.concatenate([c.tpot_s for c in cells.values()]))
    return replace(constants(np.array(theta)), log_error_step=error)


def _with_prompts(
    known: Calibration, evidence: Evidence, names: Sequence[str], ceilings: Ceilings, reference: Calibration | None
) -> Calibration:
    """Return the constants with those of prefill: what comes once, attention, and steady products over separately timed ones."""
    cells = {name: cells_of(evidence.steps, name) for name in names}
    borrowed = {}
    if reference and "fp8" not in names:
        ratios = reference.prompt_product_ratio
        borrowed = {f: r / ratios["bf16"] for f, r in ratios.items() if f != "bf16"}

    def constants(theta: Floats) -> Calibration:
        start, attention, *ratios = (float(v) for v in theta)
        of = dict(zip(names, ratios, strict=True))
        of |= {f: r * of["bf16"] for f, r in borrowed.items()}
        return replace(known, prompt_start_s=start, attention_fraction=attention, prompt_product_ratio=of)

    def prompts_of(theta: Floats) -> Floats:
        machine = Machine(known=constants(theta), ceilings=ceilings)
        return np.concatenate([_prompts_s(evidence, name, machine, c) for name, c in cells.items()])

    start = [1e-2, 0.5, *(1.0 for _ in names)]
    theta, error = fitted_surroundings(start, prompts_of, np.concatenate([c.prefill_s for c in cells.values()]))
    return replace(constants(np.array(theta)), log_error_prompt=error)


def all_reduces(rows: Sequence[AllReduceTime]) -> dict[str, list[list[float]]]:
    """Return bytes and seconds of all-reduces by the number of devices."""
    tables: dict[str, list[list[float]]] = {}
    for row in sorted(rows, key=lambda r: (r.world, r.n_bytes)):
        sizes, seconds = tables.setdefault(str(row.world), [[], []])
        sizes.append(float(row.n_bytes))
        seconds.append(row.p50_s.value)
    return tables


def log_errors(
    known: Calibration, ceilings: Ceilings, steps: Run, model: ModelSpec, served: str
) -> tuple[Floats, Floats]:
    """Return the logarithms of predicted over measured of one precision of a run: of its steps, and of its prompts."""
    spreads_experts = bool(steps.spec.get("engine_options", {}).get("enable_expert_parallel"))
    split = Split(tensor=int(steps.spec.get("tensor_parallel", 1)), is_expert_parallel=spreads_experts)
    machine = Machine(known=known, ceilings=ceilings, split=split, link=Link(measured=known.all_reduces))
    cells, evidence = cells_of(steps, served), Evidence(gemm=(), steps=steps, model=model)
    step, prompt = (predicted(evidence, served, machine, cells) for predicted in (_steps_s, _prompts_s))
    return np.log(step / cells.tpot_s), np.log(prompt / cells.prefill_s)


def plan_of(served: str, run: Run) -> dict[str, str]:
    """Return the format of each role of a precision of a run."""
    name = Served.read(served).format or "bf16"
    if name == "mixed":
        return dict(run.spec["plan"])
    return one_precision(model_spec_from(str(run.model)), name)


def kv_bits_of(served: str) -> int:
    """Return the bits of a number in the KV cache of a precision."""
    return 8 if served.endswith(FP8_KV) else 16
