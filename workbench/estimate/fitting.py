"""Constants of a device from its runs, and how far predictions are from a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.serving_speed import FP8_KV, Served
from workbench.estimate.calibration import (
    FITTED,
    FITTED_PROMPTS,
    Calibration,
    Floats,
    cells_of,
    fitted_curves,
    fitted_link,
    fitted_surroundings,
)
from workbench.estimate.linear_layers import ROLES
from workbench.estimate.machine import Link, Machine, Split
from workbench.estimate.roofline import Ceilings
from workbench.estimate.step_time import decode_step_s, prompt_s

DECODED = 16  # tokens after the prompt at which steps were timed, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Runs of one device, with the shapes that they are of."""

    gemm: Sequence[tuple[Run, ModelSpec]]
    steps: Run
    model: ModelSpec
    """Of ``steps``."""
    links: Sequence[Mapping[str, Any]] = ()
    """Rows of all-reduces on two devices, with ``n_bytes`` and ``p50_s``."""


def calibrated(
    device_id: str,
    evidence: Evidence,
    *,
    ceilings: Ceilings,
    fitted_to: Sequence[str] = FITTED,
    reference: Calibration | None = None,
) -> Calibration:
    """Constants of a device from its runs.

    Args:
        device_id: Row of the hardware catalogue.
        evidence: What was measured.
        ceilings: The device's published peaks.
        fitted_to: Precisions of the steps whose decoding is looked at; the others stay unseen.
        reference: Another device, whose ratios of 8 to 16 bits are taken where 8 bits were not measured here.
    """
    curves, tables = fitted_curves(evidence.gemm, ceilings)
    measured = [s for s in evidence.steps.spec["served"] if cells_of(evidence.steps, s)["batch"].size]
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
        sources=[*(run.id for run, _ in evidence.gemm), evidence.steps.id],
    )
    known = _with_steps(known, evidence, [s for s in fitted_to if s in measured], ceilings, reference)
    known = _with_prompts(known, evidence, [s for s in FITTED_PROMPTS if s in measured], ceilings, reference)
    known = _with_link(known, evidence)
    unseen = [s for s in measured if s not in fitted_to and s not in FITTED_PROMPTS and Served.read(s).folder is None]
    unseen = [s for s in unseen if {*plan_of(s, evidence.steps).values()} <= {*curves}]
    if not unseen:
        if reference is None:
            return replace(
                known, log_error_unseen_step=known.log_error_step, log_error_unseen_prompt=known.log_error_prompt
            )
        # What the fit does not see is as uncertain as where it was looked at.
        return replace(
            known,
            log_error_unseen_step=max(known.log_error_step, reference.log_error_unseen_step),
            log_error_unseen_prompt=max(known.log_error_prompt, reference.log_error_unseen_prompt),
        )
    off = [log_errors(known, ceilings, evidence.steps, evidence.model, name) for name in unseen]
    step_rms, prompt_rms = (float(np.sqrt(np.mean(np.square(np.concatenate([o[i] for o in off]))))) for i in (0, 1))
    return replace(known, log_error_unseen_step=step_rms, log_error_unseen_prompt=prompt_rms)


def _with_steps(
    known: Calibration,
    evidence: Evidence,
    names: Sequence[str],
    ceilings: Ceilings,
    reference: Calibration | None,
) -> Calibration:
    """Decoding: what surrounds the products, and the share of the bandwidth that reading the cache reaches."""
    cells = {name: cells_of(evidence.steps, name) for name in names}
    has_8_bits = any(name.endswith(FP8_KV) for name in names)
    ratio = reference.kv_fraction["8"] / reference.kv_fraction["16"] if reference else 0.75

    def made(theta: Floats) -> Calibration:
        layer, step, sequence, sixteen, *eight = (float(v) for v in theta)
        fractions = {"16": sixteen, "8": eight[0] if eight else ratio * sixteen}
        return replace(known, layer_s=layer, step_s=step, sequence_s=sequence, kv_fraction=fractions)

    def steps_of(theta: Floats) -> Floats:
        machine = Machine(known=made(theta), ceilings=ceilings)
        return np.concatenate(
            [
                decode_step_s(
                    evidence.model,
                    plan_of(name, evidence.steps),
                    machine,
                    batch=c["batch"],
                    context=c["context_tokens"] + DECODED,
                    kv_bits=kv_bits_of(name),
                )
                for name, c in cells.items()
            ]
        )

    start = [3e-6, 3e-4, 1e-5, 0.8, *([0.7] if has_8_bits else [])]
    theta, error = fitted_surroundings(start, steps_of, np.concatenate([c["tpot_p50_s"] for c in cells.values()]))
    return replace(made(np.array(theta)), log_error_step=error)


def _with_prompts(
    known: Calibration,
    evidence: Evidence,
    names: Sequence[str],
    ceilings: Ceilings,
    reference: Calibration | None,
) -> Calibration:
    """Prompts: what comes once, attention, and steady products beside those that were timed by themselves."""
    cells = {name: cells_of(evidence.steps, name) for name in names}
    borrowed = {}
    if reference and "fp8" not in names:
        ratios = reference.prompt_product_ratio
        borrowed = {f: r / ratios["bf16"] for f, r in ratios.items() if f != "bf16"}

    def made(theta: Floats) -> Calibration:
        start, attention, *ratios = (float(v) for v in theta)
        of = dict(zip(names, ratios, strict=True))
        of |= {f: r * of["bf16"] for f, r in borrowed.items()}
        return replace(known, prompt_start_s=start, attention_fraction=attention, prompt_product_ratio=of)

    def prompts_of(theta: Floats) -> Floats:
        machine = Machine(known=made(theta), ceilings=ceilings)
        return np.concatenate(
            [
                prompt_s(
                    evidence.model,
                    plan_of(name, evidence.steps),
                    machine,
                    batch=c["batch"],
                    context=c["context_tokens"],
                )
                for name, c in cells.items()
            ]
        )

    start = [1e-2, 0.5, *(1.0 for _ in names)]
    theta, error = fitted_surroundings(start, prompts_of, np.concatenate([c["prefill_s"] for c in cells.values()]))
    return replace(made(np.array(theta)), log_error_prompt=error)


def _with_link(known: Calibration, evidence: Evidence) -> Calibration:
    if not evidence.links:
        return known
    n_bytes, seconds = (np.array([float(r[name]) for r in evidence.links]) for name in ("n_bytes", "p50_s"))
    latency, rate, error = fitted_link(n_bytes, seconds, world=2)
    return replace(known, link_latency_s=latency, link_bytes_per_s=rate, log_error_link=error)


def link_of(known: Calibration, *, otherwise: Link) -> Link:
    """The measured link of a device, or what the catalogue says."""
    if known.link_latency_s is None or known.link_bytes_per_s is None:
        return otherwise
    return Link(latency_s=known.link_latency_s, bytes_per_s=known.link_bytes_per_s, fraction=1.0)


def log_errors(
    known: Calibration, ceilings: Ceilings, steps: Run, model: ModelSpec, served: str
) -> tuple[Floats, Floats]:
    """Logarithms of predicted over measured of one precision of a run: of its steps, and of its prompts."""
    split = Split(tensor=int(steps.spec.get("tensor_parallel", 1)))
    machine = Machine(known=known, ceilings=ceilings, split=split, link=link_of(known, otherwise=Link()))
    cells, plan = cells_of(steps, served), plan_of(served, steps)
    batch, context = cells["batch"], cells["context_tokens"]
    step = decode_step_s(model, plan, machine, batch=batch, context=context + DECODED, kv_bits=kv_bits_of(served))
    prompt = prompt_s(model, plan, machine, batch=batch, context=context)
    return np.log(step / cells["tpot_p50_s"]), np.log(prompt / cells["prefill_s"])


def plan_of(served: str, run: Run) -> dict[str, str]:
    """The format of each role of a precision of a run."""
    name = Served.read(served).format or "bf16"
    if name == "mixed":
        return dict(run.spec["plan"])
    return dict.fromkeys(ROLES, name)


def kv_bits_of(served: str) -> int:
    """Width of the cache's numbers of a precision."""
    return 8 if served.endswith(FP8_KV) else 16
