"""Distributions of latencies in the order of time: censoring, and intervals that respect autocorrelation."""

import math

import numpy as np
import numpy.typing as npt

from workbench.load.rows import Distribution

Floats = npt.NDArray[np.float64]
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
N_BATCHES = 20
T_97_5_19 = 2.093  # Student's t for 95 % and 19 degrees of freedom
MIN_PER_BATCH = 2


def distribution(
    seconds: Floats, *, censored: npt.NDArray[np.bool_] | None = None, groups: Floats | None = None
) -> Distribution:
    """Return mean and percentiles of latencies in the order in which their requests were due.

    A censored value is a request that ended without an answer: its latency is known only to be longer
    (Kaplan and Meier 1958). A percentile that falls among such requests is None.

    Intervals: 20 batches of neighbours; the mean from batch means (Law 2015, section 9.5.3), a percentile from
    the spread over batches of the share below it, turned back into seconds (Woodruff 1952).

    Args:
        seconds: Latencies, or times until failure where censored: (n,).
        censored: Which are censored: (n,); None: none is.
        groups: Non-decreasing numbers that tell which values belong to one request: (n,). Values of one
            request stay in one batch.
    """
    n = int(seconds.size)
    hidden = np.zeros(n, dtype=bool) if censored is None else censored
    n_hidden = int(hidden.sum())
    if n == n_hidden:
        empty = dict.fromkeys(("mean", *QUANTILES))
        return Distribution(mean=None, p50=None, p90=None, p99=None, n=n, n_censored=n_hidden, interval=empty)
    values = {name: _quantile(seconds, hidden, q) for name, q in QUANTILES.items()}
    interval: dict[str, tuple[float, float] | None] = dict.fromkeys(("mean", *QUANTILES))
    batches = _batches(n, groups)
    if batches is not None:
        interval["mean"] = _mean_interval(seconds[~hidden], batches[~hidden])
        for name, q in QUANTILES.items():
            at = values[name]
            if at is not None:
                interval[name] = _quantile_interval(seconds, hidden, q, at, batches)
    return Distribution(mean=float(seconds[~hidden].mean()), **values, n=n, n_censored=n_hidden, interval=interval)


def _batches(n: int, groups: Floats | None) -> npt.NDArray[np.int64] | None:
    """Return the number of the batch of each value; None where there are too few."""
    if groups is None:
        if n < N_BATCHES * MIN_PER_BATCH:
            return None
        return np.arange(n) * N_BATCHES // n
    starts = np.concatenate([[True], groups[1:] != groups[:-1]])
    number = np.cumsum(starts) - 1
    n_groups = int(number[-1]) + 1
    return None if n_groups < N_BATCHES * MIN_PER_BATCH else number * N_BATCHES // n_groups


def _survival(seconds: Floats, hidden: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the times of answers in order, and the Kaplan-Meier share answered by then."""
    order = np.lexsort((hidden, seconds))
    at_risk = np.arange(seconds.size, 0, -1)
    survival = np.asarray(np.cumprod(np.where(hidden[order], 1.0, 1 - 1 / at_risk)), dtype=np.float64)
    seen = ~hidden[order]
    return seconds[order][seen], 1 - survival[seen]


def _quantile(seconds: Floats, hidden: npt.NDArray[np.bool_], q: float) -> float | None:
    if not hidden.any():
        return float(np.quantile(seconds, q))
    times, answered = _survival(seconds, hidden)
    index = int(np.searchsorted(answered, q - 1e-12))
    return float(times[index]) if index < times.size else None


def _mean_interval(seen: Floats, batches: npt.NDArray[np.int64]) -> tuple[float, float] | None:
    counts = np.bincount(batches, minlength=N_BATCHES)
    if (counts == 0).any():
        return None
    means = np.bincount(batches, weights=seen, minlength=N_BATCHES) / counts
    half = T_97_5_19 * float(means.std(ddof=1)) / math.sqrt(N_BATCHES)
    middle = float(seen.mean())
    return middle - half, middle + half


def _quantile_interval(
    seconds: Floats, hidden: npt.NDArray[np.bool_], q: float, at: float, batches: npt.NDArray[np.int64]
) -> tuple[float, float] | None:
    """Return the interval of a percentile; None where the upper end would lie beyond the largest sample."""
    below = ((seconds <= at) & ~hidden).astype(float)
    counts = np.bincount(batches, minlength=N_BATCHES)
    shares = np.bincount(batches, weights=below, minlength=N_BATCHES) / np.maximum(counts, 1)
    spread = float(shares.std(ddof=1)) / math.sqrt(N_BATCHES)
    spread = max(spread, math.sqrt(q * (1 - q) / seconds.size))  # not under that of independent samples
    low, high = q - T_97_5_19 * spread, q + T_97_5_19 * spread
    if high >= 1:
        return None
    ends = _quantile(seconds, hidden, max(low, 0.0)), _quantile(seconds, hidden, high)
    return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
