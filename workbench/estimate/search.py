"""Which devices, how many, split how, for a load and its SLO: every plan with its cost, or the reason against it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt

from workbench.catalog.kernels import reason_without_kernel
from workbench.catalog.model_spec import ModelSpec
from workbench.core.checks import require_fraction, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.units import shown_bytes, shown_duration
from workbench.estimate.context_limit import require_within_context
from workbench.estimate.knobs import OutputTokens, PromptTokens, RequestRate, SloAttainment, SloTpot, SloTtft
from workbench.estimate.machine import NETWORK, Link, Machine, Split
from workbench.estimate.precision import chosen_precision, offered_precisions, roles_of, weight_bits_of
from workbench.estimate.serving_memory import ContextPlan, context_plan
from workbench.estimate.step_time import decode_step_s, prompt_and_reading_s

Floats = npt.NDArray[np.float64]
MOST_SEQUENCES = 1024  # of one replica at once
GROUP_SIZES = (1, 2, 4, 8)  # devices of a replica that are tried
FP8_BITS = 8
KV_BITS = (16, FP8_BITS)
BATCHES = np.unique(np.round(np.geomspace(1, MOST_SEQUENCES, 60)))
IN_ONE_MACHINE = 8  # devices that NVLink joins in the usual servers
SMALLEST_SHARE = 0.2  # of the bits asked for; less is no precision that anyone serves
SLACK = 1e-9  # an exact multiple of a capacity buys no further machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests at the peak, and the SLO that they must meet."""

    requests_per_s: RequestRate = 10.0
    input_tokens: PromptTokens = 1024
    output_tokens: OutputTokens = 128
    ttft_s: SloTtft = 1.0
    tpot_s: SloTpot = 0.05
    attainment_fraction: SloAttainment = 0.95

    def __post_init__(self) -> None:
        require_positive(self, "requests_per_s", "input_tokens", "output_tokens", "ttft_s", "tpot_s")
        require_fraction(self, "attainment_fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Devices that can be had."""

    device_id: str
    name: str
    memory_bytes: float
    usd_per_hour: float | None
    """Price of one device and hour; None where no price is known."""
    price_label: str
    machine: Machine
    """One device with its constants."""
    has_bf16: bool
    """Whether it multiplies BF16 numbers; else models are served in FP16."""
    has_fp8_cache: bool
    """Whether its attention reads a KV cache in FP8."""
    is_calibrated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A way to serve a load, or why it is none."""

    device_id: str
    device_name: str
    n_devices: int
    """Number of devices of one replica."""
    precision: str
    kernel: str
    """The format that the products are computed in, where the device has no kernel of the precision itself."""
    dtype: Literal["auto", "half"] = "auto"
    """``--dtype`` of vLLM: half where the device has no BF16."""
    kv_bits: int
    reason: str | None
    """Why the load cannot be served so; None when it can."""
    excess: float | None = None
    """How many times as much as a limit the nearest way takes: of the SLO, or of the usable memory; None where it can be served, or nothing
    like that stands against it."""
    concurrency: int = 0
    """Sequences of one replica at once."""
    n_replicas: int = 0
    ttft_s: float = 0.0
    tpot_s: float = 0.0
    capacity_requests_per_s: float = 0.0
    """Largest request rate of one replica within the SLO."""
    usd_per_hour: float | None = None
    usd_per_million_output_tokens: float | None = None
    is_calibrated: bool = False
    constants_of: str = ""
    """Device whose measurements the predicted times stand on."""
    measured_tensor: tuple[int, ...] = ()
    """Numbers of devices over which tensor parallelism was measured there."""
    split: Split = field(default_factory=Split)
    memory_fraction: float = 0.0
    """Share of the usable memory that is needed."""

    @property
    def total_devices(self) -> int:
        """Number of devices of all replicas."""
        return self.n_devices * self.n_replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One combination at every number of sequences that memory has room for; SLO, request rate and price are not in it."""

    plan: Plan
    """What does not depend on them, with the reason where nothing can be served so."""
    usd_per_device_hour: float | None
    batch: Floats = field(default_factory=lambda: np.empty(0))
    ttft_s: Floats = field(default_factory=lambda: np.empty(0))
    tpot_s: Floats = field(default_factory=lambda: np.empty(0))
    capacity_requests_per_s: Floats = field(default_factory=lambda: np.empty(0))
    """Largest request rate of one replica within the SLO."""
    memory_fraction: Floats = field(default_factory=lambda: np.empty(0))


def require_kernel(offer: Offer, precision: str) -> None:
    """Raise ``InvalidSpec`` where a device cannot be served in a precision, with what ``plans`` gives as the reason."""
    if precision not in offer.machine.kernels:
        raise InvalidSpec(
            gettext("{text}.").format(text=reason_without_kernel(precision, offer.name)),
            remedy=gettext("Choose from: {names}.").format(names=", ".join(offer.machine.kernels)),
        )


def n_replicas_for(requests_per_s: float, capacity_requests_per_s: float) -> int:
    """Return the replicas for a rate; an exact multiple of the capacity needs no further one."""
    return max(1, ceil(requests_per_s / capacity_requests_per_s * (1 - SLACK)))


def plans(
    model: ModelSpec,
    load: Load,
    offers: Iterable[Offer],
    *,
    group_sizes: Sequence[int] = GROUP_SIZES,
    precisions: Sequence[str] | None = None,
    kv_bits: Sequence[int] = KV_BITS,
    most_sequences: int = MOST_SEQUENCES,
) -> list[Plan]:
    """Return every combination, feasible ones first and cheapest first; the others with what stands against them.

    A replica is filled up to the largest number of sequences that meets the SLO and that memory has room for. Waiting
    in queues is not simulated: a first token waits for its own prompt and half a step (``simulate.attained`` looks at what requests
    really meet). ``precisions`` are those that the model's checkpoint can be served in where they are left out.
    """
    combinations = curves(
        model,
        load,
        offers,
        group_sizes=group_sizes,
        precisions=precisions,
        kv_bits=kv_bits,
        most_sequences=most_sequences,
    )
    return choose_plans(combinations, load)


def curves(
    model: ModelSpec,
    load: Load,
    offers: Iterable[Offer],
    *,
    group_sizes: Sequence[int] = GROUP_SIZES,
    precisions: Sequence[str] | None = None,
    kv_bits: Sequence[int] = KV_BITS,
    most_sequences: int = MOST_SEQUENCES,
) -> list[Curve]:
    """Return every combination for the load's lengths, at every number of sequences.

    Raises ``InvalidSpec`` for lengths beyond the model's own.
    """
    require_within_context(model, load.input_tokens, load.output_tokens)
    asked = offered_precisions(model) if precisions is None else [chosen_precision(model, p) for p in precisions]
    return [
        curve
        for offer in offers
        for split in splits(model, group_sizes)
        for precision in dict.fromkeys(asked)
        for curve in _curves(model, load, offer, split, precision, kv_bits, most_sequences)
    ]


def choose_plans(combinations: Iterable[Curve], load: Load) -> list[Plan]:
    """Return the plan of each combination for a load of the lengths that the curves are for, in the order of ``plans``."""
    return sorted(
        (settled(curve, load) for curve in combinations),
        key=lambda p: (p.reason is not None, p.usd_per_hour is None, p.usd_per_hour or p.total_devices, p.tpot_s),
    )


def splits(model: ModelSpec, group_sizes: Sequence[int]) -> list[Split]:
    """Return the ways to cut a model over groups of these sizes: layers, stages of cut layers, and whole experts.

    More than 8 devices, which are on several machines, are joined by stages: all-reduces stay inside a machine.
    """
    ways = []
    for n in group_sizes:
        tensor = min(n, IN_ONE_MACHINE)
        ways.append(Split(tensor=tensor, pipeline=n // tensor))
        if 2 <= n <= IN_ONE_MACHINE:
            ways.append(Split(tensor=n // 2, pipeline=2))
        if model.experts and n > 1:
            ways.append(Split(tensor=tensor, pipeline=n // tensor, is_expert_parallel=True))
            ways.append(Split(data=n, is_expert_parallel=True))
    return [s for s in dict.fromkeys(ways) if s.reason_against(model) is None]


def _curves(
    model: ModelSpec,
    load: Load,
    offer: Offer,
    split: Split,
    precision: str,
    kv_bits: Sequence[int],
    most_sequences: int,
) -> list[Curve]:
    """Return a combination with each kind of cache."""
    n = split.n_devices
    network = Link(latency_s=NETWORK[0], bytes_per_s=NETWORK[1], fraction=1.0)
    link = network if split.data > IN_ONE_MACHINE else offer.machine.link
    machine = replace(offer.machine, split=split, link=link, stage_link=network if n > IN_ONE_MACHINE else None)
    kernel = machine.kernel(precision)
    plan = Plan(
        device_id=offer.device_id,
        device_name=offer.name,
        n_devices=n,
        split=split,
        precision=precision,
        kernel=kernel,
        dtype="auto" if offer.has_bf16 else "half",
        kv_bits=kv_bits[0],
        is_calibrated=offer.is_calibrated
        and split.is_among(offer.machine.measured_tensor)
        and model.experts is None
        and kernel not in machine.lent,
        constants_of=machine.known.device_id,
        measured_tensor=offer.machine.measured_tensor,
        reason=None,
    )
    usd = offer.usd_per_hour
    if precision not in machine.kernels:
        reason = reason_without_kernel(precision, offer.name)
        return [Curve(plan=replace(plan, kv_bits=bits, reason=reason), usd_per_device_hour=usd) for bits in kv_bits]
    roles = roles_of(model, precision)

    @cache
    def prefill() -> tuple[float, float]:
        one = np.ones(1)
        whole, reading = prompt_and_reading_s(model, roles, machine, batch=one, context=one * load.input_tokens)
        return float(whole[0]), float(reading[0])

    def curve(plan: Plan, bits: int) -> Curve:
        memory = context_plan(
            model,
            memory_bytes=offer.memory_bytes,
            n_devices=split.tensor * split.pipeline,
            tensor_parallel=split.tensor,
            expert_groups=split.data,
            weight_bits=weight_bits_of(model, precision),
            kv_bits=bits,
            context_tokens=load.input_tokens + load.output_tokens,
        )
        reason = _reason_against(offer, memory, bits=bits, n_devices=n)
        if reason is not None:
            excess = memory.needed_bytes / memory.usable_bytes if limit_of(reason) == "memory" else None
            return Curve(plan=replace(plan, reason=reason, excess=excess), usd_per_device_hour=usd)
        batch = BATCHES[min(_most_held(memory), most_sequences) >= BATCHES]
        middle = np.full_like(batch, load.input_tokens + load.output_tokens / 2)
        step = decode_step_s(model, roles, machine, batch=batch, context=middle, kv_bits=bits)
        whole, between = prefill()
        tpot = step + (batch - 1) * between / load.output_tokens
        ttft = whole + 0.5 * tpot
        filled = memory.fixed_bytes + batch * memory.sequence_bytes
        return Curve(
            plan=plan,
            usd_per_device_hour=usd,
            batch=batch,
            ttft_s=ttft,
            tpot_s=tpot,
            capacity_requests_per_s=batch / (ttft + (load.output_tokens - 1) * tpot),
            memory_fraction=filled / memory.usable_bytes,
        )

    return [curve(replace(plan, kv_bits=bits), bits) for bits in kv_bits]


def _most_held(memory: ContextPlan) -> int:
    """Return the sequences that memory has room for."""
    room = memory.usable_bytes - memory.fixed_bytes
    return int(room // memory.sequence_bytes) if room > 0 else 0


def _reason_against(offer: Offer, memory: ContextPlan, *, bits: int, n_devices: int) -> str | None:
    """Return why a device cannot keep a cache of so many bits; None where it can."""
    if bits == FP8_BITS and not offer.has_fp8_cache:
        return gettext("attention of this device reads no KV cache in FP8")
    if _most_held(memory) < 1:
        return gettext("memory: {needed} are needed, {usable} usable; {fit}").format(
            needed=shown_bytes(memory.needed_bytes),
            usable=shown_bytes(memory.usable_bytes),
            fit=would_fit(memory, n_devices),
        )
    return None


def settled(curve: Curve, load: Load) -> Plan:
    """Return the plan with as many sequences as the SLO allows, and as many replicas as the request rate needs."""
    plan, tpot, ttft = curve.plan, curve.tpot_s, curve.ttft_s
    if plan.reason is not None:
        return plan
    holds = (tpot <= load.tpot_s) & (ttft <= load.ttft_s)
    if not holds.any():
        reason, least, slo = max(
            (gettext("TTFT: a prompt alone takes {least}, the SLO is {slo}"), float(ttft[0]), load.ttft_s),
            (gettext("TPOT: one sequence alone takes {least}, the SLO is {slo}"), float(tpot[0]), load.tpot_s),
            key=lambda limit: limit[1] / limit[2],
        )
        reason = reason.format(least=shown_duration(least), slo=shown_duration(slo))
        return replace(plan, reason=reason, excess=least / slo)
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


def with_replicas(plan: Plan, n: int) -> Plan:
    """Return a plan that serves the same load with another number of replicas, and what that costs."""
    share = n / plan.n_replicas
    hourly, per_million = (
        None if usd is None else usd * share for usd in (plan.usd_per_hour, plan.usd_per_million_output_tokens)
    )
    return replace(plan, n_replicas=n, usd_per_hour=hourly, usd_per_million_output_tokens=per_million)


def nearest_plan(combinations: Sequence[Plan]) -> Plan | None:
    """Return the plan that comes nearest to serving a load where none does: by its latencies, else by its memory."""
    failing = [p for p in combinations if p.reason and p.excess]
    return min(failing, key=lambda p: (limit_of(p.reason or "") == "memory", p.excess or 0.0), default=None)


def limit_of(reason: str) -> Literal["memory", "TTFT", "TPOT"] | None:
    """Return which limit the reason against a plan is about, by how it begins; None for another reason."""
    if reason.startswith(gettext("memory: ")):
        return "memory"
    return "TTFT" if reason.startswith("TTFT") else "TPOT" if reason.startswith("TPOT") else None


def would_fit(memory: ContextPlan, n_devices: int) -> str:
    """Return what would make a model fit that does not: devices of the same kind, or fewer bits."""
    needed = ceil(memory.needed_bytes / (memory.usable_bytes / n_devices))
    share = (memory.usable_bytes - memory.needed_bytes + memory.weight_bytes) / memory.weight_bytes
    if share < SMALLEST_SHARE:
        return gettext("it would fit on {needed} of these devices").format(needed=needed)
    return gettext("it would fit on {needed} of these devices, or with {share} % of the bits of the weights").format(
        needed=needed, share=f"{100 * share:.0f}"
    )


def pareto(combinations: Sequence[Plan]) -> list[Plan]:
    """Return the feasible, priced plans that no other beats in both cost and time per token, cheapest first."""
    kept: list[Plan] = []
    priced = [p for p in combinations if p.reason is None and p.usd_per_hour is not None]
    for plan in sorted(priced, key=lambda p: (p.usd_per_hour or 0.0, p.tpot_s)):
        if not kept or plan.tpot_s < kept[-1].tpot_s:
            kept.append(plan)
    return kept
