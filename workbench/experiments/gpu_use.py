"""Why a GPU does not do all that it could: where its time goes, from samples of its units, clocks and the engine's queue."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.core.samples import Recording
from workbench.load.summary import keeps_promises
from workbench.telemetry.gpu_source import slowed_by

SMALL = 0.02  # a loss below this is not worth a remedy
WAITS = 0.1  # share of time in which some task waits for a processor that counts as pressure


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A share of the time that is lost, and what speaks for it."""

    cause: str
    fraction: float
    """Of the whole span at the highest clock."""
    evidence: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """Losses from "all the time at the highest clock" down to what the tensor cores did, in the order of subtraction.

    Fractions add up to 1 with ``achieved_fraction``. The order matters where losses overlap: a step that waits
    for the host at a low clock counts as waiting.
    """

    gpu: str
    span_s: float
    losses: Sequence[Loss]
    achieved_fraction: float
    achieved: str
    """What remains, in words: tensor cores at work, or a kernel running where units cannot be seen."""
    dram_fraction: float | None
    """Of the memory bandwidth in use, mean."""
    not_seen: Sequence[str]
    """What could not be told apart, and why."""

    @property
    def largest(self) -> Loss:
        """The loss to look at first."""
        return max(self.losses, key=lambda loss: loss.fraction)


def gpus_of(made: Recording) -> list[str]:
    """GPUs that were sampled."""
    return sorted(
        {n.split(".", 1)[0] for n in made.values if n.startswith("gpu") and n.endswith(".utilisation_percent")}
    )


def gpu_use(made: Recording, gpu: str, start_s: float, end_s: float, *, highest_mhz: float | None = None) -> GpuUse:
    """Where the time of a GPU went.

    Args:
        made: Samples.
        gpu: Such as "gpu0".
        start_s: Of the monotonic clock.
        end_s: Likewise.
        highest_mhz: Of its multiprocessors; the highest that was sampled if left out.

    Raises ``NotAvailable`` when it was not sampled in this span.
    """

    def mean(quantity: str) -> float | None:
        return made.mean(f"{gpu}.{quantity}", start_s, end_s)

    busy = mean("utilisation_percent")
    if busy is None:
        raise NotAvailable(
            f"{gpu} was not sampled between {start_s:.0f} and {end_s:.0f} s.",
            remedy=f"Sampled are: {', '.join(gpus_of(made)) or 'no GPUs'}.",
        )
    kernel, span, not_seen = busy / 100, end_s - start_s, []
    losses = []
    asked = share_with_work(made, start_s, end_s)
    if asked is None:
        not_seen.append("whether requests were there: no counters of an engine were sampled")
    else:
        idle = max(0.0, min(1 - asked, 1 - kernel))
        losses.append(
            Loss(
                cause="no requests",
                fraction=idle,
                evidence=f"requests were running or waiting {100 * asked:.0f} % of the time",
                remedy="Send more to this GPU, share it, or switch it off in quiet hours.",
            )
        )
    before = 1 - sum(loss.fraction for loss in losses)
    losses.append(
        Loss(
            cause="no kernel running",
            fraction=max(0.0, before - kernel),
            evidence=f"a kernel ran {100 * kernel:.0f} % of the time; {_host(made, start_s, end_s)}",
            remedy="The GPU waits for the host: CUDA graphs, asynchronous scheduling, fewer and larger steps, a faster core.",
        )
    )
    level, achieved = min(before, kernel), "a kernel was running"
    active, tensor, dram = mean("sm_active_percent"), mean("tensor_active_percent"), mean("dram_active_percent")
    if active is None or tensor is None:
        not_seen.append(
            f"which units worked: {made.problems.get(f'{gpu}.tensor_active_percent', 'they were not sampled')}"
        )
    else:
        active, tensor = min(level, active / 100), min(level, tensor / 100)
        memory = "" if dram is None else f"; memory bandwidth in use {dram:.0f} %"
        losses.append(
            Loss(
                cause="multiprocessors without work",
                fraction=max(0.0, level - active),
                evidence=f"of the multiprocessors {100 * active:.0f} % had work",
                remedy="Kernels are too small for this card, or wait for each other: larger batches, fewer launches.",
            )
        )
        losses.append(
            Loss(
                cause="no matrix products",
                fraction=max(0.0, active - tensor),
                evidence=f"tensor cores worked {100 * tensor:.0f} % of the time{memory}",
                remedy="Reading weights and cache, attention and small kernels: larger batches, fewer bits, an FP8 cache.",
            )
        )
        level, achieved = min(active, tensor), "tensor cores were at work"
    clock = mean("sm_clock_mhz")
    seen = made.values.get(f"{gpu}.sm_clock_mhz")
    highest = highest_mhz or (float(seen.max()) if seen is not None and seen.size else None)
    if clock is None or not highest:
        not_seen.append("the clock")
    else:
        losses.append(
            Loss(
                cause="clock below the highest",
                fraction=level * max(0.0, 1 - clock / highest),
                evidence=f"{clock:.0f} of {highest:.0f} MHz{_held_down(made, gpu, start_s, end_s)}",
                remedy="Raise the power limit if you may, cool better, or use fewer bits: less energy for each token.",
            )
        )
    return GpuUse(
        gpu=gpu,
        span_s=span,
        losses=losses,
        achieved_fraction=max(0.0, 1 - sum(loss.fraction for loss in losses)),
        achieved=achieved,
        dram_fraction=None if dram is None else dram / 100,
        not_seen=not_seen,
    )


def share_with_work(made: Recording, start_s: float, end_s: float) -> float | None:
    """Share of a span in which an engine had requests; None without its counters."""
    name = "engine.num_requests_running"
    if name not in made:
        return None
    t, running = made.times_s[name], made.values[name].copy()
    waiting = made.values.get("engine.num_requests_waiting")
    if waiting is not None and waiting.size == running.size:
        running = running + waiting
    inside = (t >= start_s) & (t <= end_s)
    if inside.sum() < 2:
        return None
    at, has = t[inside], running[inside] > 0
    return float(np.sum(np.diff(at) * has[:-1]) / (at[-1] - at[0]))


def _host(made: Recording, start_s: float, end_s: float) -> str:
    span = end_s - start_s
    told = []
    core = made.mean("host.busiest_core_percent", start_s, end_s)
    if core is not None:
        told.append(f"the busiest core was busy {core:.0f} %")
    stalled = made.increase("host.cpu_stalled_s", start_s, end_s)
    if stalled is not None and stalled / span > WAITS:
        told.append(f"some task waited for a processor {100 * stalled / span:.0f} % of the time")
    throttled = made.increase("host.throttled_s", start_s, end_s)
    if throttled:
        told.append(f"the container's limit stopped it for {throttled:.1f} s")
    return ", ".join(told) or "the host was not sampled"


def _held_down(made: Recording, gpu: str, start_s: float, end_s: float) -> str:
    told = []
    for quantity, text in (("power_violation_s", "power limit"), ("thermal_violation_s", "temperature")):
        held = made.increase(f"{gpu}.{quantity}", start_s, end_s)
        if held and held / (end_s - start_s) > SMALL:
            told.append(f"held down by the {text} {100 * held / (end_s - start_s):.0f} % of the time")
    name = f"{gpu}.clock_reasons"
    if not told and name in made:
        inside = made.between(start_s, end_s).values[name]
        counted: dict[str, int] = {}
        for bits in inside:
            for reason in slowed_by(float(bits)):
                counted[reason] = counted.get(reason, 0) + 1
        told = [f"{reason} in {100 * n / inside.size:.0f} % of the samples" for reason, n in counted.items()]
    power, limit = made.mean(f"{gpu}.power_w", start_s, end_s), made.mean(f"{gpu}.power_limit_w", start_s, end_s)
    if power is not None and limit is not None:
        told.append(f"{power:.0f} W of {limit:.0f}")
    return "; " + ", ".join(told) if told else ""


def energy_by_unit(run: Run, made: Recording, start_s: float, end_s: float) -> dict[str, float | None]:
    """Joules of all GPUs in a span, by output token, by answered and by good request; None where something is missing.

    Idle power is in it. Requests are those that ended in the span; a good one kept the promises of the load's spec.
    """
    energies = [made.increase(f"{gpu}.energy_j", start_s, end_s) for gpu in gpus_of(made)]
    if not energies or any(e is None for e in energies):
        return dict.fromkeys(("joules", "joules_per_output_token", "joules_per_request", "joules_per_good_request"))
    joules = float(sum(e for e in energies if e is not None))
    origin = float(run.samples.get("started_monotonic_s") or 0.0)
    ended = [
        q
        for q in run.samples.get("requests", [])
        if not q.get("error") and q.get("end_s") is not None and start_s <= origin + q["end_s"] <= end_s
    ]
    tokens = sum(q["output_tokens"] for q in ended)
    ttft, tpot = run.spec.get("slo_ttft_s"), run.spec.get("slo_tpot_s")
    good = sum(keeps_promises(q, ttft_s=ttft, tpot_s=tpot) for q in ended)

    def per(n: int) -> float | None:
        return joules / n if n else None

    return {
        "joules": joules,
        "joules_per_output_token": per(tokens),
        "joules_per_request": per(len(ended)),
        "joules_per_good_request": per(good),
    }
