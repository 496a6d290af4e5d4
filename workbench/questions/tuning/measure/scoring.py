"""What a load is worth: its score in windows of time, from the times of its requests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.core.dependent import mean_of_batches
from workbench.core.statistics import Floats, Interval, block_bootstrap
from workbench.questions.tuning.rows import RequestTimes
from workbench.questions.tuning.spec import Objective, TuneSpec

WINDOWS = 10
"""Parts of a load between which its score varies."""
LEAST_GAIN = -1.0
"""A score is not below zero, so no setting loses more than all of another one's."""
ENOUGH_LOADS = 3
"""From so many loads on a gain's interval is taken from loads, not from windows."""
TIMED_OUT = 3.0
"""Durations of a load that an unanswered request counts for, where latency is minimised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is maximised, and what decides it."""

    objective: Objective
    slo_ttft_s: float
    slo_tpot_s: float
    duration_s: float
    is_closed: bool
    """Whether answers are counted when they end, since users send only then."""
    usd_per_hour: float = 1.0


def aim_of(spec: TuneSpec) -> Aim:
    """Return the aim of a spec; the price of a setting's devices is added where it is known."""
    return Aim(
        objective=spec.maximise,
        slo_ttft_s=spec.slo_ttft_s,
        slo_tpot_s=spec.slo_tpot_s,
        duration_s=spec.duration_s,
        is_closed=spec.arrivals == "closed" or spec.turns > 1,
        usd_per_hour=spec.usd_per_hour or 1.0,
    )


def floats(values: Sequence[float | None]) -> Floats:
    """Return values as an array, with NaN where there is none."""
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def are_good(times: RequestTimes, aim: Aim) -> npt.NDArray[np.bool_]:
    """Return whether each request met the SLO; one of a single token has no TPOT to miss."""
    ttft, tpot = floats(times.ttft_s), floats(times.tpot_s)
    answered = ~np.isnan(floats(times.e2e_s))
    good: npt.NDArray[np.bool_] = answered & (ttft <= aim.slo_ttft_s) & ~(tpot > aim.slo_tpot_s)
    return good


def window_scores(times: RequestTimes, aim: Aim, *, devices: int = 1) -> Floats:
    """Return the score in each window, higher is better: goodput, good tokens per USD, or one over the mean end-to-end latency."""
    due, e2e = np.asarray(times.due_s, dtype=np.float64), floats(times.e2e_s)
    width = aim.duration_s / WINDOWS
    at = due + e2e if aim.is_closed else due
    inside = ~np.isnan(at) & (at < aim.duration_s)
    place = np.clip((np.where(inside, at, 0.0) / width).astype(int), 0, WINDOWS - 1)
    if aim.objective == "latency":
        seconds = np.where(np.isnan(e2e), TIMED_OUT * aim.duration_s, e2e)
        total = np.bincount(place, weights=seconds * inside, minlength=WINDOWS)
        n = np.bincount(place, weights=inside, minlength=WINDOWS)
        overall = float(seconds.mean()) if seconds.size else TIMED_OUT * aim.duration_s
        inverse: Floats = 1.0 / np.where(n > 0, total / np.maximum(n, 1), overall)
        return inverse
    good = are_good(times, aim) & inside
    if aim.objective == "cost":
        tokens = np.bincount(place, weights=good * np.asarray(times.output_tokens, dtype=np.float64), minlength=WINDOWS)
        per_usd: Floats = tokens / width * 3600 / (aim.usd_per_hour * devices)
        return per_usd
    goodput: Floats = np.bincount(place, weights=good, minlength=WINDOWS) / width
    return goodput


def counted(times: RequestTimes, aim: Aim) -> npt.NDArray[np.bool_]:
    """Return which requests count: those due while the load lasted, or of a closed loop those that ended by then."""
    due, e2e = np.asarray(times.due_s, dtype=np.float64), floats(times.e2e_s)
    inside: npt.NDArray[np.bool_] = (due + e2e if aim.is_closed else due) < aim.duration_s
    return inside


def mean_score(windows: Floats) -> Interval:
    """Return the score of all windows with its 95 % interval."""
    return block_bootstrap(
        windows.size, lambda i: float(windows[i].mean()), seed=0, resamples=400, within=(0.0, np.inf)
    )


def gain(better: Sequence[Floats], than: Sequence[Floats]) -> Interval:
    """Return by which fraction one score is above another, with its 95 % interval, from the windows of the same loads in the same order.

    From ``ENOUGH_LOADS`` on it is Student's t over the loads, which are independent; within a load a queue grows, so that its windows say little
    of how certain the mean is. Of fewer loads the windows are all there is.
    """
    ours, others = (np.concatenate(side) for side in (better, than))
    scale = float(others.mean())
    if scale <= 0:  # more than nothing is no percentage: 1 where it is more than nothing in all of its interval
        its = mean_score(ours)
        return Interval(float(its.value > 0), float(its.low > 0), float(its.value > 0))
    if len(better) >= ENOUGH_LOADS:
        by_load = np.array([a.mean() - b.mean() for a, b in zip(better, than, strict=True)]) / scale
        return mean_of_batches(by_load, within=(LEAST_GAIN, np.inf))
    return block_bootstrap(
        ours.size,
        lambda i: float(ours[i].mean() - others[i].mean()) / scale,
        seed=0,
        resamples=400,
        within=(LEAST_GAIN, np.inf),
    )
