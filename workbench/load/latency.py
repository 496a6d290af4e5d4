"""Distributions of latencies in the order of time: censoring, and intervals that respect autocorrelation."""

import numpy as np
import numpy.typing as npt

from workbench.core.dependent import mean_with_dependence, share_with_dependence
from workbench.load.rows import Distribution

Floats = npt.NDArray[np.float64]
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
LEAST_FOR_INTERVAL = 40
"""Values, or requests that they belong to, below which there is no interval."""


def distribution(
    seconds: Floats, *, censored: npt.NDArray[np.bool_] | None = None, groups: Floats | None = None
) -> Distribution:
    """Return mean and percentiles of latencies in the order in which their requests were due.

    A censored value is a request that ended without an answer: its latency is known only to be longer
    (Kaplan and Meier 1958). A percentile that falls among such requests is None.

    Intervals count the independent values, since latencies of one queue are alike: the mean has none where they are too
    few, as near saturation; a percentile's is that of the share below it, turned back into seconds (Woodruff 1952).

    Args:
        seconds: Latencies, or times until failure where censored: (n,).
        censored: Which are censored: (n,); None: none is.
        groups: Non-decreasing numbers that tell which values belong to one request: (n,).
    """
    n = int(seconds.size)
    hidden = np.zeros(n, dtype=bool) if censored is None else censored
    n_hidden = int(hidden.sum())
    if n == n_hidden:
        empty = dict.fromkeys(("mean", *QUANTILES))
        return Distribution(mean=None, p50=None, p90=None, p99=None, n=n, n_censored=n_hidden, interval=empty)
    values = {name: _quantile(seconds, hidden, q) for name, q in QUANTILES.items()}
    interval: dict[str, tuple[float, float] | None] = dict.fromkeys(("mean", *QUANTILES))
    if _has_enough(n, groups):
        interval["mean"] = mean_with_dependence(seconds[~hidden])
        for name, q in QUANTILES.items():
            at = values[name]
            if at is not None:
                interval[name] = _quantile_interval(seconds, hidden, q, at)
    return Distribution(mean=float(seconds[~hidden].mean()), **values, n=n, n_censored=n_hidden, interval=interval)


def _has_enough(n: int, groups: Floats | None) -> bool:
    """Return whether there are enough values, or enough requests that they belong to, for an interval."""
    return (n if groups is None else np.unique(groups).size) >= LEAST_FOR_INTERVAL


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


def _quantile_interval(
    seconds: Floats, hidden: npt.NDArray[np.bool_], q: float, at: float
) -> tuple[float, float] | None:
    """Return the interval of a percentile; None where the upper end would lie beyond the largest sample."""
    share = share_with_dependence(((seconds <= at) & ~hidden).astype(np.float64), seconds)
    if seconds.size * (1 - share.high) < 1:
        return None
    ends = _quantile(seconds, hidden, min(share.low, q)), _quantile(seconds, hidden, max(share.high, q))
    return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
