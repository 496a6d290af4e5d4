"""What a plan is called, and its load simulated on it."""

from dataclasses import dataclass, replace

from workbench.catalog.model_spec import ModelSpec
from workbench.core.language import gettext, ngettext
from workbench.core.traffic import around_mean, draw_arrivals
from workbench.estimate.precision import weight_bits_of
from workbench.estimate.search import Load, Offer, Plan
from workbench.estimate.serving_memory import context_plan
from workbench.simulate.costs import front_of, step_cost
from workbench.simulate.engine import EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.step_cost import StepCost
from workbench.simulate.summary import Occupancy, OverTime, Service, occupancy, over_time, summary

SIMULATED, MOST_SIMULATED = 600, 1500  # requests
TURNS = 4  # requests of each sequence that a replica runs at once, at least
MOST_REPLICAS = 4
PARTS = 120  # of the time that queues are drawn over


def plan_label(plan: Plan) -> str:
    """Return replicas, devices and precision in a few words."""
    n = max(1, plan.n_replicas)
    return ngettext("{n} replica of {combination}", "{n} replicas of {combination}", n).format(
        n=n, combination=combination_label(plan)
    )


def basis_of(plan: Plan) -> str:
    """Return whose constants a plan stands on."""
    if plan.is_calibrated:
        return gettext("Constants are of this device")
    if plan.constants_of == plan.device_id and not plan.split.is_among(plan.measured_tensor):
        measured = ", ".join(f"TP {n}" for n in plan.measured_tensor) or gettext("1 device")
        return gettext("Constants are of this device, but {split} was not measured on it; measured: {measured}").format(
            split=plan.split.label, measured=measured
        )
    if plan.constants_of == plan.device_id:
        return gettext("Constants are of this device, but were never checked for experts or for this precision")
    return gettext("Constants are of another device, the nearest kind that was measured ({device})").format(
        device=plan.constants_of
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPlan:
    """A load simulated on the replicas of a plan."""

    service: Service
    occupancy: Occupancy
    busiest: OverTime
    """Queue and cache of the replica with the most steps."""
    cache_tokens: int
    """Tokens that the cache of one replica holds."""
    n_replicas: int
    """Replicas that were simulated, with their share of the requests."""


class PlanTraffic:
    """Drawn traffic in front of a plan's replicas: Poisson arrivals, lengths around the load's, to the one with the least to do.

    Of many replicas a few are simulated, with their share of the requests.
    """

    def __init__(self, model: ModelSpec, plan: Plan, load: Load, offer: Offer) -> None:
        self.plan, self.load = plan, load
        self.machine = machine = replace(offer.machine, split=plan.split)
        context = load.input_tokens + load.output_tokens // 2
        self.cost = step_cost(model, plan.precision, machine, kv_bits=plan.kv_bits, context_tokens=context)
        memory = context_plan(
            model,
            memory_bytes=offer.memory_bytes,
            n_devices=plan.split.tensor * plan.split.pipeline,
            tensor_parallel=plan.split.tensor,
            expert_groups=plan.split.data,
            weight_bits=weight_bits_of(model, plan.precision),
            kv_bits=plan.kv_bits,
            context_tokens=load.input_tokens + load.output_tokens,
        )
        self.cache_tokens = max(memory.room_tokens, load.input_tokens + load.output_tokens)

    def simulated(self, n_replicas: int, cost: StepCost, *, requests_share: float = 1.0) -> SimulatedPlan:
        """Return what the traffic does to so many replicas with these step times, with a share of the requests that are usual."""
        load, concurrency = self.load, max(1, self.plan.concurrency)
        n = min(n_replicas, MOST_REPLICAS)
        least = min(MOST_SIMULATED, max(SIMULATED, TURNS * n * concurrency))
        lengths = around_mean(load.input_tokens, load.output_tokens)
        rate = load.requests_per_s * n / n_replicas
        arrivals = draw_arrivals(round(requests_share * least), rate_per_s=rate, lengths=lengths, seed=0)
        limits = EngineLimits(
            max_sequences=concurrency,
            cache_tokens=max(self.cache_tokens, *(a.input_tokens + a.output_tokens for a in arrivals)),
            front=front_of(self.machine),
        )
        done = replicas(n, arrivals, cost, limits, routing="least loaded")
        return SimulatedPlan(
            service=summary(done.answers, arrivals, ttft_s=load.ttft_s, tpot_s=load.tpot_s),
            occupancy=occupancy(done, limits),
            busiest=over_time(max(done.moments, key=len), n_parts=PARTS),
            cache_tokens=limits.cache_tokens,
            n_replicas=n,
        )


def combination_label(plan: Plan) -> str:
    """Return the devices of one replica, split and precision."""
    cache = (gettext("FP8 cache"),) if plan.kv_bits == 8 else ()
    split = f" ({plan.split.label})" if plan.split.pipeline > 1 or plan.split.is_expert_parallel else ""
    how = "{precision}"
    if plan.kernel != plan.precision:
        weights_only = gettext("{precision} weights only")
        how = {"fp8a16": weights_only, "nvfp4a16": weights_only, "fp16": gettext("{precision} as fp16")}.get(
            plan.kernel, how
        )
    return gettext(", ").join(
        (f"{plan.n_devices} × {plan.device_name}{split}", how.format(precision=plan.precision), *cache)
    )
