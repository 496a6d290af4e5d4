"""What a search for plans says, and predictions beside the measurements that a store has."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.serving_speed import Served
from workbench.core.traffic import SPREAD, drawn
from workbench.core.units import shown_duration, three_digits
from workbench.estimate.calibration import cells_of
from workbench.estimate.fitting import DECODED, kv_bits_of, plan_of
from workbench.estimate.machine import Machine
from workbench.estimate.prediction import interval_around
from workbench.estimate.search import Load, Offer, Plan
from workbench.estimate.step_time import decode_step_s
from workbench.experiments.quantization_verdict import Verdict
from workbench.simulate.costs import step_cost
from workbench.simulate.engine import EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.summary import occupancy, over_time, summary

SIMULATED = 1000  # requests
MOST_TIMES = 8  # a plan's replicas that are tried to keep the promises for most requests
PARTS = 120  # of the time that queues are drawn over


def plan_label(plan: Plan) -> str:
    """Replicas, devices and precision in a few words."""
    many = f"{plan.n_replicas} replicas" if plan.n_replicas > 1 else "1 replica"
    return f"{many} of {combination_label(plan)}"


def combination_label(plan: Plan) -> str:
    """Devices of one replica, split and precision."""
    cache = ", FP8 cache" if plan.kv_bits == 8 else ""
    split = f" ({plan.split.label})" if plan.split.pipeline > 1 or plan.split.is_expert_parallel else ""
    return f"{plan.n_devices} × {plan.device_name}{split}, {plan.precision}{cache}"


def basis_of(plan: Plan) -> str:
    """Whose constants a plan stands on."""
    if plan.is_calibrated:
        return "Constants are of this device"
    return "Constants are of another device, or were never checked for so many devices or for experts"


def plan_verdict(found: Sequence[Plan], best: Sequence[Plan], load: Load, *, kept_fraction: float | None) -> Verdict:
    """The cheapest plan, what it costs, and what speaks against trusting it; or what binds.

    Args:
        found: All combinations.
        best: Those that no other beats, cheapest first.
        load: What comes in, and what was promised.
        kept_fraction: Of simulated requests on the cheapest plan, those that keep both promises; None without a plan.
    """
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
    point = basis_of(cheapest)
    capacity = cheapest.capacity_requests_per_s * cheapest.n_replicas
    busy = 100 * load.requests_per_s / capacity
    objection = f"{point}; replicas are {busy:.0f} % busy"
    if kept_fraction is not None:
        objection += (
            f", and with Poisson arrivals and mixed lengths {100 * kept_fraction:.0f} % keep both promises (tab below)"
        )
    return Verdict(best=cheapest.device_id, headline=headline + ".", evidence=evidence, objection=objection + ".")


def simulated(model: ModelSpec, plan: Plan, load: Load, offer: Offer) -> dict[str, Any]:
    """Waits of drawn traffic on a plan's replicas, and the queue and cache of one of them over time.

    Poisson arrivals, lengths around the load's; each request goes to the replica with the least to do.
    """
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
        # Medians of lengths whose means are the load's.
        input_tokens=max(1.0, load.input_tokens / exp(SPREAD**2 / 2)),
        output_tokens=max(1.0, load.output_tokens / exp(SPREAD**2 / 2)),
        seed=0,
    )
    longest = max(a.input_tokens + a.output_tokens for a in arrivals)
    room = plan.concurrency * (load.input_tokens + load.output_tokens)
    limits = EngineLimits(max_sequences=max(1, plan.concurrency), cache_tokens=max(longest, room))
    done = replicas(plan.n_replicas, arrivals, cost, limits, routing="least loaded")
    told = summary(done.answers, arrivals, ttft_s=load.ttft_s, tpot_s=load.tpot_s) | occupancy(done, limits)
    busiest = max(done.moments, key=len)
    return told | {"over_time": over_time(busiest, n_parts=PARTS), "cache_tokens": limits.cache_tokens}


def replicas_that_keep(model: ModelSpec, plan: Plan, load: Load, offer: Offer, *, share: float) -> int | None:
    """Fewest replicas with which so many of the simulated requests keep both promises.

    Args:
        model: The shape.
        plan: Says what a replica is; more than ``MOST_TIMES`` its number are not tried.
        load: What comes in, and what was promised.
        offer: The plan's device.
        share: Of the requests.

    Returns ``None`` where even the most that are tried do not suffice.
    """

    def keeps(n: int) -> bool:
        told = simulated(model, replace(plan, n_replicas=n), load, offer)
        return float(told["kept_fraction"]) >= share

    high = plan.n_replicas
    while not keeps(high):
        if high >= MOST_TIMES * plan.n_replicas:
            return None
        high = min(MOST_TIMES * plan.n_replicas, max(high + 1, high * 3 // 2))
    low = max(1, plan.n_replicas // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle + 1, high)
    return high


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
