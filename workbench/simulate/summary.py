"""What a simulation says: waits, and how many requests kept their promises."""

from collections.abc import Callable, Mapping, Sequence
from math import exp
from typing import Any

import numpy as np

from workbench.core.traffic import Arrival
from workbench.simulate.engine import Answer, EngineLimits, Moment, StepCost
from workbench.simulate.routing import Replicas


def summary(answers: Sequence[Answer], arrivals: Sequence[Arrival], *, ttft_s: float, tpot_s: float) -> dict[str, Any]:
    """Percentiles in seconds, goodput in requests a second, and what share kept both promises.

    Args:
        answers: One for each arrival, in the same order.
        arrivals: What came in.
        ttft_s: Promise for the first token.
        tpot_s: Promise for the mean of the further ones.
    """
    ends = [a.at_s + b.e2e_s for a, b in zip(arrivals, answers, strict=True)]
    seconds = max(ends) - min(a.at_s for a in arrivals)
    kept = [b.ttft_s <= ttft_s and (b.tpot_s is None or b.tpot_s <= tpot_s) for b in answers]
    told: dict[str, Any] = {"n_requests": len(answers), "provenance": "simulated"}
    tpot = [b.tpot_s for b in answers if b.tpot_s is not None]
    for name, values in (("ttft", [b.ttft_s for b in answers]), ("tpot", tpot), ("e2e", [b.e2e_s for b in answers])):
        for q in (50, 90, 99):
            told[f"{name}_p{q}_s"] = float(np.quantile(values, q / 100)) if values else None
    return told | {
        "requests_per_s": len(answers) / seconds,
        "goodput_requests_per_s": float(sum(kept) / seconds),
        "kept_fraction": float(np.mean(kept)),
        "output_tokens_per_s": sum(b.output_tokens for b in answers) / seconds,
        "n_preempted": sum(b.n_preempted for b in answers),
    }


def with_interval(
    run: Callable[[StepCost], Mapping[str, Any]], cost: StepCost, *, log_error_step: float, log_error_prompt: float
) -> dict[str, Any]:
    """What a simulation tells, and for each number the least and greatest when all steps are shorter and longer.

    Near saturation a few percent of a step's time are most of a wait, so the ends may lie far apart.

    Args:
        run: Simulates with given costs.
        cost: The predicted ones.
        log_error_step: Distance to the ends for decoding, as a logarithm.
        log_error_prompt: Likewise for reading prompts.
    """
    told = dict(run(cost))
    ends = [run(cost.scaled(exp(sign * log_error_step), exp(sign * log_error_prompt))) for sign in (-1, 1)]
    for name in [n for n, value in told.items() if isinstance(value, int | float) and n != "n_requests"]:
        values = [told[name], *(end[name] for end in ends)]
        if all(isinstance(v, int | float) for v in values):
            told |= {f"{name}_low": min(values), f"{name}_high": max(values)}
    return told


def occupancy(done: Replicas, limits: EngineLimits) -> dict[str, Any]:
    """How long queues and how full caches were, over all engines and weighted by time."""
    waiting, cached, seconds = [], [], []
    for moments in done.moments:
        at = np.array([m[0] for m in moments])
        seconds.append(np.diff(at, prepend=at[:1]))
        waiting.append(np.array([m[1] for m in moments]))
        cached.append(np.array([m[3] for m in moments]) / limits.cache_tokens)
    weights, w, c = np.concatenate(seconds), np.concatenate(waiting), np.concatenate(cached)
    total = float(weights.sum())
    return {
        "waiting_mean": float(w @ weights) / total if total else 0.0,
        "waiting_max": int(w.max(initial=0)),
        "cache_mean_fraction": float(c @ weights) / total if total else 0.0,
        "cache_max_fraction": float(c.max(initial=0.0)),
        "busy_fraction": done.busy_fraction,
    }


def over_time(moments: Sequence[Moment], *, n_parts: int) -> dict[str, list[float]]:
    """An engine in equal parts of its time: the most that waited, that ran and that the cache held in each.

    Parts in which no step ended are left out.
    """
    at = np.array([m[0] for m in moments])
    if not at.size:
        return {"at_s": [], "waiting": [], "running": [], "cached_tokens": []}
    edges = np.linspace(at[0], at[-1], n_parts + 1)
    part = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, n_parts - 1)
    first = np.flatnonzero(np.diff(part, prepend=-1))
    told = {"at_s": edges[part[first]].tolist()}
    for i, name in enumerate(("waiting", "running", "cached_tokens"), start=1):
        told[name] = np.maximum.reduceat(np.array([float(m[i]) for m in moments]), first).tolist()
    return told
