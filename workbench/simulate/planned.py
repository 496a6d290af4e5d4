"""What a plan is called, and its load simulated on it."""

from dataclasses import dataclass, replace
from math import exp

from workbench.catalog.model_spec import ModelSpec
from workbench.core.traffic import SPREAD, Lengths, draw_arrivals
from workbench.estimate.search import Load, Offer, Plan
from workbench.simulate.costs import FRONT_REQUEST_S, FRONT_S, FRONT_STREAM_S, step_cost
from workbench.simulate.engine import EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.summary import Occupancy, OverTime, Service, occupancy, over_time, summary

SIMULATED = 1000  # requests
PARTS = 120  # of the time that queues are drawn over


def plan_label(plan: Plan) -> str:
    """Return replicas, devices and precision in a few words."""
    many = f"{plan.n_replicas} replicas" if plan.n_replicas > 1 else "1 replica"
    return f"{many} of {combination_label(plan)}"


def basis_of(plan: Plan) -> str:
    """Return whose constants a plan stands on."""
    if plan.is_calibrated:
        return "Constants are of this device"
    if plan.constants_of == plan.device_id:
        return "Constants are of this device, but were never checked for so many devices, for experts or for this precision"
    return f"Constants are of another device, the nearest kind that was measured ({plan.constants_of})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPlan:
    """A load simulated on the replicas of a plan."""

    service: Service
    occupancy: Occupancy
    busiest: OverTime
    """Queue and cache of the replica with the most steps."""
    cache_tokens: int
    """Tokens that the cache of one replica holds."""


def simulate_plan(model: ModelSpec, plan: Plan, load: Load, offer: Offer) -> SimulatedPlan:
    """Return what drawn traffic does to a plan's replicas.

    Poisson arrivals, lengths around the load's; each request goes to the replica with the least to do.
    """
    machine = replace(offer.machine, split=plan.split)
    context = load.input_tokens + load.output_tokens // 2
    cost = step_cost(model, plan.precision, machine, kv_bits=plan.kv_bits, context_tokens=context)
    mean_to_median = exp(-(SPREAD**2) / 2)
    lengths = Lengths(
        input_tokens=max(1.0, load.input_tokens * mean_to_median),
        output_tokens=max(1.0, load.output_tokens * mean_to_median),
    )
    arrivals = draw_arrivals(SIMULATED, rate_per_s=load.requests_per_s, lengths=lengths, seed=0)
    longest = max(a.input_tokens + a.output_tokens for a in arrivals)
    room = plan.concurrency * (load.input_tokens + load.output_tokens)
    limits = EngineLimits(
        max_sequences=max(1, plan.concurrency),
        cache_tokens=max(longest, room),
        front_s=FRONT_S,
        front_request_s=FRONT_REQUEST_S,
        front_stream_s=FRONT_STREAM_S,
    )
    done = replicas(plan.n_replicas, arrivals, cost, limits, routing="least loaded")
    return SimulatedPlan(
        service=summary(done.answers, arrivals, ttft_s=load.ttft_s, tpot_s=load.tpot_s),
        occupancy=occupancy(done, limits),
        busiest=over_time(max(done.moments, key=len), n_parts=PARTS),
        cache_tokens=limits.cache_tokens,
    )


def combination_label(plan: Plan) -> str:
    """Return the devices of one replica, split and precision."""
    cache = ", FP8 cache" if plan.kv_bits == 8 else ""
    split = f" ({plan.split.label})" if plan.split.pipeline > 1 or plan.split.is_expert_parallel else ""
    weights_only = {"fp8a16": " weights only", "nvfp4a16": " weights only", "fp16": " as fp16"}
    how = weights_only.get(plan.kernel, "") if plan.kernel != plan.precision else ""
    return f"{plan.n_devices} × {plan.device_name}{split}, {plan.precision}{how}{cache}"
