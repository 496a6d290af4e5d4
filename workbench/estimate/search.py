"""Which devices, how many, split how, for a load and its promises: every plan with its cost, or the reason against it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np
import numpy.typing as npt

from workbench.core.checkpoints import FORMATS
from workbench.core.checks import require_positive
from workbench.core.models import ModelSpec
from workbench.core.units import shown_bytes, shown_duration
from workbench.estimate.kv_cache import ContextPlan, context_plan
from workbench.estimate.linear_layers import ROLES
from workbench.estimate.machine import NETWORK, Link, Machine, Split
from workbench.estimate.step_time import decode_step_s, prompt_s

Floats = npt.NDArray[np.float64]
MOST_SEQUENCES = 1024  # of one replica at once
BATCHES = np.unique(np.round(np.geomspace(1, MOST_SEQUENCES, 60)))
MOST_CHECKED = 2  # devices of a group up to which predictions were compared with measurements
IN_ONE_MACHINE = 8  # devices that NVLink joins in the usual servers
SMALLEST_SHARE = 0.2  # of the bits asked for; less is no precision that anyone serves
SLACK = 1e-9  # an exact multiple of a capacity buys no further machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes in, and what was promised."""

    requests_per_s: float
    input_tokens: int
    output_tokens: int
    ttft_s: float
    """Until the first token, at most."""
    tpot_s: float
    """Of each further token, at most."""

    def __post_init__(self) -> None:
        require_positive(self, "requests_per_s", "input_tokens", "output_tokens", "ttft_s", "tpot_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Devices that can be had."""

    device_id: str
    name: str
    memory_bytes: float
    usd_per_hour: float | None
    """Of one device; None where no price is known."""
    price_label: str
    machine: Machine
    """One device."""
    has_fp8: bool
    """Whether it multiplies FP8 numbers."""
    is_calibrated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A way to serve a load, or why it is none."""

    device_id: str
    device_name: str
    n_devices: int
    """Of one replica."""
    precision: str
    kv_bits: int
    reason: str | None
    """Why the load cannot be served so; None when it can."""
    concurrency: int = 0
    """Sequences of one replica at once."""
    n_replicas: int = 0
    ttft_s: float = 0.0
    tpot_s: float = 0.0
    capacity_requests_per_s: float = 0.0
    """Of one replica within the promises."""
    usd_per_hour: float | None = None
    usd_per_million_output_tokens: float | None = None
    is_calibrated: bool = False
    split: Split = field(default_factory=Split)
    memory_fraction: float = 0.0
    """Of the usable memory that is needed."""

    @property
    def total_devices(self) -> int:
        """Of all replicas."""
        return self.n_devices * self.n_replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One combination at every number of sequences that memory has room for; promises, rate and price are not in it."""

    plan: Plan
    """What does not depend on them, with the reason where nothing can be served so."""
    usd_per_device_hour: float | None
    batch: Floats = field(default_factory=lambda: np.empty(0))
    ttft_s: Floats = field(default_factory=lambda: np.empty(0))
    tpot_s: Floats = field(default_factory=lambda: np.empty(0))
    capacity_requests_per_s: Floats = field(default_factory=lambda: np.empty(0))
    """Of one replica."""
    memory_fraction: Floats = field(default_factory=lambda: np.empty(0))


def n_replicas_for(requests_per_s: float, capacity_requests_per_s: float) -> int:
    """Replicas for a rate; an exact multiple of the capacity needs no further one."""
    return max(1, ceil(requests_per_s / capacity_requests_per_s * (1 - SLACK)))


def plans(
    model: ModelSpec,
    load: Load,
    offers: Iterable[Offer],
    *,
    group_sizes: Sequence[int] = (1, 2, 4, 8),
    precisions: Sequence[str] = ("bf16", "fp8", "w4a16"),
    kv_bits: Sequence[int] = (16, 8),
    most_sequences: int = MOST_SEQUENCES,
) -> list[Plan]:
    """Every combination, feasible ones first and cheapest first; the others with what stands against them.

    A replica is filled up to the largest number of sequences at which both promises hold and memory suffices. Waiting in
    queues is not simulated: a first token waits for its own prompt and half a step.
    """
    return chosen(
        curves(
            model,
            load,
            offers,
            group_sizes=group_sizes,
            precisions=precisions,
            kv_bits=kv_bits,
            most_sequences=most_sequences,
        ),
        load,
    )


def curves(
    model: ModelSpec,
    load: Load,
    offers: Iterable[Offer],
    *,
    group_sizes: Sequence[int] = (1, 2, 4, 8),
    precisions: Sequence[str] = ("bf16", "fp8", "w4a16"),
    kv_bits: Sequence[int] = (16, 8),
    most_sequences: int = MOST_SEQUENCES,
) -> list[Curve]:
    """Every combination for the load's lengths, at every number of sequences."""
    return [
        _curve(model, load, offer, split, precision, bits, most_sequences)
        for offer in offers
        for split in splits(model, group_sizes)
        for precision in precisions
        for bits in kv_bits
    ]


def chosen(found: Iterable[Curve], load: Load) -> list[Plan]:
    """The plan of each combination for a load of the lengths that the curves are for, in the order of ``plans``."""
    return sorted(
        (_settled(curve, load) for curve in found),
        key=lambda p: (p.reason is not None, p.usd_per_hour is None, p.usd_per_hour or p.total_devices, p.tpot_s),
    )


def splits(model: ModelSpec, group_sizes: Sequence[int]) -> list[Split]:
    """Ways to cut a model over groups of these sizes: layers, stages of cut layers, and whole experts.

    More than 8 devices, which are on several machines, are joined by stages: all-reduces stay inside a machine.
    """
    made = []
    for n in group_sizes:
        tensor = min(n, IN_ONE_MACHINE)
        made.append(Split(tensor=tensor, pipeline=n // tensor))
        if 2 <= n <= IN_ONE_MACHINE:
            made.append(Split(tensor=n // 2, pipeline=2))
        if model.experts and n > 1:
            made.append(Split(tensor=tensor, pipeline=n // tensor, is_expert_parallel=True))
            made.append(Split(data=n, is_expert_parallel=True))
    return [s for s in dict.fromkeys(made) if s.reason_against(model) is None]


def _curve(
    model: ModelSpec, load: Load, offer: Offer, split: Split, precision: str, bits: int, most_sequences: int
) -> Curve:
    n = split.n_devices
    network = Link(latency_s=NETWORK[0], bytes_per_s=NETWORK[1], fraction=1.0)
    machine = Machine(
        known=offer.machine.known,
        ceilings=offer.machine.ceilings,
        split=split,
        link=network if split.data > IN_ONE_MACHINE else offer.machine.link,
        stage_link=network if n > IN_ONE_MACHINE else None,
    )
    plan = Plan(
        device_id=offer.device_id,
        device_name=offer.name,
        n_devices=n,
        split=split,
        precision=precision,
        kv_bits=bits,
        is_calibrated=offer.is_calibrated and n <= MOST_CHECKED and model.experts is None,
        reason=None,
    )

    def none(reason: str) -> Curve:
        return Curve(plan=replace(plan, reason=reason), usd_per_device_hour=offer.usd_per_hour)

    if precision == "fp8" and not offer.has_fp8:
        return none("the device has no FP8 products")
    if precision not in machine.known.curves:
        return none(f"no product in {precision} was measured")
    context = load.input_tokens + load.output_tokens
    memory = context_plan(
        model,
        memory_bytes=offer.memory_bytes,
        n_devices=split.tensor * split.pipeline,
        tensor_parallel=split.tensor,
        expert_groups=split.data,
        weight_bits=FORMATS[precision].stored_bits(in_features=model.hidden),
        kv_bits=bits,
        context_tokens=context,
    )
    room = memory.usable_bytes - memory.weight_bytes - memory.workspace_bytes
    held = int(room // memory.cache_bytes) if room > 0 else 0
    if held < 1:
        return none(
            f"memory: {shown_bytes(memory.needed_bytes)} are needed, {shown_bytes(memory.usable_bytes)} usable; "
            f"{would_fit(memory, n)}"
        )
    roles: Mapping[str, str] = dict.fromkeys(ROLES, precision)
    batch = BATCHES[min(held, most_sequences) >= BATCHES]
    middle = np.full_like(batch, load.input_tokens + load.output_tokens / 2)
    step = decode_step_s(model, roles, machine, batch=batch, context=middle, kv_bits=bits)
    one = np.ones(1)
    reading = float(prompt_s(model, roles, machine, batch=one, context=one * load.input_tokens)[0])
    between = reading - machine.known.prompt_start_s
    tpot = step + (batch - 1) * between / load.output_tokens
    ttft = reading + 0.5 * tpot
    return Curve(
        plan=plan,
        usd_per_device_hour=offer.usd_per_hour,
        batch=batch,
        ttft_s=ttft,
        tpot_s=tpot,
        capacity_requests_per_s=batch / (ttft + (load.output_tokens - 1) * tpot),
        memory_fraction=(memory.weight_bytes + memory.workspace_bytes + batch * memory.cache_bytes)
        / memory.usable_bytes,
    )


def _settled(curve: Curve, load: Load) -> Plan:
    """As many sequences as the promises allow, and as many replicas as the rate needs."""
    plan, tpot, ttft = curve.plan, curve.tpot_s, curve.ttft_s
    if plan.reason is not None:
        return plan
    holds = (tpot <= load.tpot_s) & (ttft <= load.ttft_s)
    if not holds.any():
        which = (
            f"TTFT: a prompt alone takes {shown_duration(float(ttft[0]))}, promised are {shown_duration(load.ttft_s)}"
            if ttft[0] > load.ttft_s
            else f"TPOT: one sequence alone takes {shown_duration(float(tpot[0]))}, "
            f"promised are {shown_duration(load.tpot_s)}"
        )
        return replace(plan, reason=which)
    at = int(np.flatnonzero(holds)[-1])
    capacity = float(curve.capacity_requests_per_s[at])
    replicas = n_replicas_for(load.requests_per_s, capacity)
    price = curve.usd_per_device_hour
    hourly = None if price is None else price * plan.n_devices * replicas
    tokens_per_hour = load.requests_per_s * load.output_tokens * 3600
    return replace(
        plan,
        concurrency=int(curve.batch[at]),
        n_replicas=replicas,
        ttft_s=float(ttft[at]),
        tpot_s=float(tpot[at]),
        capacity_requests_per_s=capacity,
        usd_per_hour=hourly,
        usd_per_million_output_tokens=None if hourly is None else hourly / tokens_per_hour * 1e6,
        memory_fraction=float(curve.memory_fraction[at]),
    )


def would_fit(memory: ContextPlan, n_devices: int) -> str:
    """What would make a model fit that does not: devices of the same kind, or bits."""
    needed = ceil(memory.needed_bytes / (memory.usable_bytes / n_devices))
    share = (memory.usable_bytes - memory.workspace_bytes - memory.cache_bytes) / memory.weight_bytes
    bits = f", or with {100 * share:.0f} % of the bits of the weights" if share >= SMALLEST_SHARE else ""
    return f"it would fit on {needed} of these devices{bits}"


def pareto(found: Sequence[Plan]) -> list[Plan]:
    """The feasible, priced plans that no other beats in both cost and time per token, cheapest first."""
    kept: list[Plan] = []
    priced = [p for p in found if p.reason is None and p.usd_per_hour is not None]
    for plan in sorted(priced, key=lambda p: (p.usd_per_hour or 0.0, p.tpot_s)):
        if not kept or plan.tpot_s < kept[-1].tpot_s:
            kept.append(plan)
    return kept


def ray_sketch(command: str, plan: Plan) -> str:
    """How one replica is started on several machines: a Ray cluster, then vLLM on its head."""
    n_machines = ceil(plan.n_devices / IN_ONE_MACHINE)
    if n_machines == 1:
        return command
    each = plan.n_devices // n_machines
    return (
        f"# {n_machines} machines with {each} devices each; the same image and model path on all of them\n"
        "# first machine:\n"
        "ray start --head --port=6379\n"
        f"# each of the other {n_machines - 1}:\n"
        "ray start --address=HEAD_ADDRESS:6379\n"
        "# first machine again, when `ray status` shows all devices:\n"
        f"{command}"
    )


def launch_command(model: str, plan: Plan, load: Load) -> str:
    """How vLLM is started for one replica of a plan."""
    parts = [
        f"vllm serve {model}",
        f"--max-model-len {load.input_tokens + load.output_tokens}",
        f"--max-num-seqs {plan.concurrency}",
        "--gpu-memory-utilization 0.9",
    ]
    split = plan.split
    for flag, n in (("tensor", split.tensor), ("pipeline", split.pipeline), ("data", split.data)):
        if n > 1:
            parts.append(f"--{flag}-parallel-size {n}")
    if split.is_expert_parallel:
        parts.append("--enable-expert-parallel")
    if plan.n_devices > IN_ONE_MACHINE:
        parts.append("--distributed-executor-backend ray")
    if plan.precision == "fp8":
        parts.append("--quantization fp8")
    if plan.kv_bits == 8:
        parts.append("--kv-cache-dtype fp8")
    return " ".join(parts)
