"""What a search for plans says, and predictions beside the measurements that a store has."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.serving_speed import Served
from workbench.core.traffic import drawn
from workbench.core.units import shown_duration, three_digits
from workbench.estimate.calibration import cells_of
from workbench.estimate.fitting import DECODED, kv_bits_of, plan_of
from workbench.estimate.machine import Machine
from workbench.estimate.prediction import interval_around
from workbench.estimate.search import Load, Offer, Plan
from workbench.estimate.step_time import decode_step_s
from workbench.experiments.quantization_verdict import Verdict
from workbench.simulate.costs import step_cost
from workbench.simulate.engine import EngineLimits, replicas
from workbench.simulate.summary import summary

SIMULATED = 1000  # requests


def plan_label(plan: Plan) -> str:
    """Replicas, devices and precision in a few words."""
    cache = ", FP8 cache" if plan.kv_bits == 8 else ""
    many = f"{plan.n_replicas} replicas" if plan.n_replicas > 1 else "1 replica"
    split = f" ({plan.split.label})" if plan.split.pipeline > 1 or plan.split.is_expert_parallel else ""
    return f"{many} of {plan.n_devices} × {plan.device_name}{split}, {plan.precision}{cache}"


def plan_verdict(found: Sequence[Plan], best: Sequence[Plan], load: Load) -> Verdict:
    """The cheapest plan, what it costs, and what speaks against trusting it; or what binds."""
    if not best:
        reasons = dict.fromkeys(p.reason.split(":")[0] for p in found if p.reason)
        binding = next((p.reason for p in found if p.reason and not p.reason.startswith("memory")), None)
        binding = binding or next((p.reason for p in found if p.reason), "nothing was asked for")
        return Verdict(
            best=None,
            headline=f"No plan keeps these promises: {binding}.",
            evidence=f"{len(found)} combinations were tried; against them stand: {', '.join(reasons) or 'prices'}.",
            objection="Loosen the promise that binds, allow more devices in a group, or use fewer bits.",
        )
    cheapest, fastest = best[0], best[-1]
    headline = f"{plan_label(cheapest)}: {cheapest.usd_per_hour:.2f} USD/h"
    if fastest is not cheapest:
        headline += f"; {plan_label(fastest)} is fastest for {fastest.usd_per_hour:.2f}"
    evidence = (
        f"{three_digits(cheapest.usd_per_million_output_tokens or 0)} USD per million output tokens; first token "
        f"{shown_duration(cheapest.ttft_s)}, then {shown_duration(cheapest.tpot_s)} a token with {cheapest.concurrency} sequences "
        f"on a replica; memory {100 * cheapest.memory_fraction:.0f} % full."
    )
    point = "Constants are of this device" if cheapest.is_calibrated else "Constants are borrowed from an H200"
    capacity = cheapest.capacity_requests_per_s * cheapest.n_replicas
    busy = 100 * load.requests_per_s / capacity
    objection = f"{point}; replicas are {busy:.0f} % busy, and queues are in the simulation only (tab below)."
    return Verdict(best=cheapest.device_id, headline=headline + ".", evidence=evidence, objection=objection)


def simulated(model: ModelSpec, plan: Plan, load: Load, offer: Offer) -> dict[str, Any]:
    """Waits of drawn traffic on a plan's replicas; Poisson arrivals, lengths around the load's."""
    machine = replace(offer.machine, split=plan.split)
    cost = step_cost(
        model,
        plan.precision,
        machine,
        kv_bits=plan.kv_bits,
        batch=max(2, plan.concurrency),
        input_tokens=load.input_tokens,
    )
    arrivals = drawn(
        SIMULATED,
        rate_per_s=load.requests_per_s,
        input_tokens=load.input_tokens,
        output_tokens=load.output_tokens,
        seed=0,
    )
    longest = max(a.input_tokens + a.output_tokens for a in arrivals)
    room = plan.concurrency * (load.input_tokens + load.output_tokens)
    limits = EngineLimits(max_sequences=max(1, plan.concurrency), cache_tokens=max(longest, room))
    answers = replicas(plan.n_replicas, arrivals, cost, limits)
    return summary(answers, arrivals, ttft_s=load.ttft_s, tpot_s=load.tpot_s)


def beside_measured(run: Run, machine: Machine, *, context_tokens: int) -> list[dict[str, Any]]:
    """Predicted and measured time per token of the precisions of a run at one context."""
    model, rows = model_spec_from(run.spec["model"]), []
    for served in run.spec["served"]:
        name = Served.read(served)
        if name.folder is not None or name.format not in {*machine.known.curves, "mixed"}:
            continue
        cells = cells_of(run, served)
        here = cells["context_tokens"] == context_tokens
        batch = cells["batch"][here]
        if not batch.size:
            continue
        made = decode_step_s(
            model,
            plan_of(served, run),
            machine,
            batch=batch,
            context=np.full_like(batch, context_tokens + DECODED),
            kv_bits=kv_bits_of(served),
        )
        for b, value, measured in zip(batch, made, cells["tpot_p50_s"][here], strict=True):
            around = interval_around(float(value), machine.known.log_error_unseen_step)
            rows.append(
                {
                    "label": name.label,
                    "batch": int(b),
                    "measured_s": float(measured),
                    "predicted_s": around.value,
                    "low_s": around.low,
                    "high_s": around.high,
                }
            )
    return rows
