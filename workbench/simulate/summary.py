"""What a simulation says: latency, SLO attainment, and how full queues and caches were."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from typing import Generic, TypeVar

import numpy as np

from workbench.core.statistics import Interval
from workbench.core.traffic import Arrival
from workbench.simulate.engine import Answer, EngineLimits, Moment
from workbench.simulate.routing import Replicas
from workbench.simulate.step_cost import StepCost

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Percentiles of a latency in seconds; None without requests that have one."""

    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How simulated requests were answered."""

    n_requests: int
    ttft_s: Percentiles
    tpot_s: Percentiles
    """Percentiles of the mean time per output token after the first one."""
    e2e_s: Percentiles
    requests_per_s: float
    goodput_requests_per_s: float
    """Rate of the requests that met the SLO."""
    attainment_fraction: float
    """Share of the requests that met the SLO."""
    output_tokens_per_s: float
    n_preempted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """How long queues and how full caches were, over all engines and weighted by time."""

    waiting_mean: float
    waiting_max: int
    cache_mean_fraction: float
    cache_max_fraction: float
    busy_fraction: float
    prefix_hit_fraction: float | None = None
    """Share of the prompt tokens that the prefix caches had; None for requests without hash ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a simulation of engines says."""

    service: Service
    occupancy: Occupancy


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRange(Generic[T]):
    """A simulation, and the same one with all steps shorter and longer by their interval."""

    simulated: T
    shorter_steps: T
    longer_steps: T

    def ends(self, number: Callable[[T], float | None]) -> tuple[float, float] | None:
        """Return the least and the greatest value of a number; None where one of them is not known."""
        values = [number(s) for s in (self.simulated, self.shorter_steps, self.longer_steps)]
        known = [v for v in values if v is not None]
        return (min(known), max(known)) if len(known) == len(values) else None

    def interval(self, number: Callable[[T], float | None], log_error: float) -> Interval:
        """Return a number between its ends, which lie at least as far apart as simulations of right step times are off.

        Args:
            number: What is looked at, which every simulation has.
            log_error: Distance to the ends where step times are right, as a logarithm.
        """
        value = number(self.simulated) or 0.0
        low, high = self.ends(number) or (value, value)
        return Interval(value, min(low, value / exp(log_error)), max(high, value * exp(log_error)))


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTime:
    """Most requests that waited and ran, and most tokens that the cache held, in each part of the time."""

    at_s: Sequence[float] = ()
    """Start of each part, in seconds."""
    waiting: Sequence[float] = ()
    running: Sequence[float] = ()
    cached_tokens: Sequence[float] = ()


def summary(answers: Sequence[Answer], arrivals: Sequence[Arrival], *, ttft_s: float, tpot_s: float) -> Service:
    """Return latency, goodput and SLO attainment.

    There is one answer for each arrival, in the same order; the SLO of ``tpot_s`` is for the mean of a request.
    """
    ends = [a.at_s + b.e2e_s for a, b in zip(arrivals, answers, strict=True)]
    seconds = max(ends) - min(a.at_s for a in arrivals)
    good = [b.ttft_s <= ttft_s and (b.tpot_s is None or b.tpot_s <= tpot_s) for b in answers]
    return Service(
        n_requests=len(answers),
        ttft_s=_percentiles([b.ttft_s for b in answers]),
        tpot_s=_percentiles([b.tpot_s for b in answers if b.tpot_s is not None]),
        e2e_s=_percentiles([b.e2e_s for b in answers]),
        requests_per_s=len(answers) / seconds,
        goodput_requests_per_s=float(sum(good) / seconds),
        attainment_fraction=float(np.mean(good)),
        output_tokens_per_s=sum(b.output_tokens for b in answers) / seconds,
        n_preempted=sum(b.n_preempted for b in answers),
    )


def _percentiles(values: Sequence[float]) -> Percentiles:
    p50, p90, p99 = (float(np.quantile(values, q)) if values else None for q in (0.5, 0.9, 0.99))
    return Percentiles(p50=p50, p90=p90, p99=p99)


def with_interval(
    run: Callable[[StepCost], T], cost: StepCost, *, log_error_step: float, log_error_prompt: float
) -> SimulationRange[T]:
    """Return a simulation, and the same one with all steps shorter and longer.

    Near saturation a few percent of a step's time are most of a wait, so the ends may lie far apart.
    ``log_error_step`` and ``log_error_prompt`` are the distances to the ends, as logarithms.
    """
    shorter, longer = (run(cost.scaled(exp(sign * log_error_step), exp(sign * log_error_prompt))) for sign in (-1, 1))
    return SimulationRange(simulated=run(cost), shorter_steps=shorter, longer_steps=longer)


def occupancy(done: Replicas, limits: EngineLimits) -> Occupancy:
    """Return how long queues and how full caches were, over all engines and weighted by time."""
    waiting, cached, seconds = [], [], []
    for moments in done.moments:
        at = np.array([m[0] for m in moments])
        seconds.append(np.diff(at, prepend=at[:1]))
        waiting.append(np.array([m[1] for m in moments]))
        cached.append(np.array([m[3] for m in moments]) / limits.cache_tokens)
    weights, w, c = np.concatenate(seconds), np.concatenate(waiting), np.concatenate(cached)
    total = float(weights.sum())
    return Occupancy(
        waiting_mean=float(w @ weights) / total if total else 0.0,
        waiting_max=int(w.max(initial=0)),
        cache_mean_fraction=float(c @ weights) / total if total else 0.0,
        cache_max_fraction=float(c.max(initial=0.0)),
        busy_fraction=done.busy_fraction,
        prefix_hit_fraction=done.hit_fraction,
    )


def over_time(moments: Sequence[Moment], *, n_parts: int) -> OverTime:
    """Return an engine in equal parts of its time; parts in which no step ended are left out."""
    at = np.array([m[0] for m in moments])
    if not at.size:
        return OverTime()
    edges = np.linspace(at[0], at[-1], n_parts + 1)
    part = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, n_parts - 1)
    first = np.flatnonzero(np.diff(part, prepend=-1))
    waiting, running, cached = (
        np.maximum.reduceat(np.array([float(m[i]) for m in moments]), first).tolist() for i in (1, 2, 3)
    )
    return OverTime(at_s=edges[part[first]].tolist(), waiting=waiting, running=running, cached_tokens=cached)
