"""Intervals for paired differences and for percentiles."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with a two-sided confidence interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside, so that the sign of the value is established."""
        return self.low > 0 or self.high < 0


def block_length(n: int) -> int:
    """Neighbouring windows of one text that are drawn together: the cube root of their number.

    The rate is that of Künsch 1989 and Hall, Horowitz and Jing 1995 for means of dependent data.
    """
    return max(1, round(math.cbrt(n)))


def block_bootstrap(
    n: int,
    statistic: Callable[[npt.NDArray[np.int64]], float],
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic of ``n`` neighbouring windows (circular block bootstrap).

    Args:
        n: Number of windows, in the order of the text.
        statistic: From drawn window indices (with repetition) to a number; pairing is kept because
            both sides of a comparison are read at the same indices.
        seed: Seed of the draws.
        resamples: Number of draws.
        level: Coverage.
    """
    rng = np.random.default_rng(seed)
    length = block_length(n)
    starts = rng.integers(0, n, size=(resamples, -(-n // length)))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)[:, :n] % n
    values = np.array([statistic(row) for row in drawn])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(statistic(np.arange(n)), float(low), float(high))


def middle_95(drawn: Floats | Sequence[float]) -> tuple[float, float]:
    """Return the ends of the 95 % interval of bootstrap draws."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def resampled_mean_interval(values: Floats, *, seed: int, resamples: int = 2000) -> tuple[float, float]:
    """Return the ends of the 95 % bootstrap interval of the mean of independent values."""
    drawn = np.random.default_rng(seed).choice(values, (resamples, len(values)))
    return middle_95(drawn.mean(axis=1))


def quantile_interval(samples: Floats, q: float, *, level: float = 0.95) -> Interval:
    """Distribution-free interval of a quantile of independent samples from order statistics.

    The ranks come from the normal approximation of the binomial (Conover 1999, section 3.2); with too
    few samples for a rank the extreme sample bounds the interval.
    """
    ordered = np.sort(samples)
    n = ordered.size
    z = NormalDist().inv_cdf((1 + level) / 2)
    spread = z * np.sqrt(n * q * (1 - q))
    here = q * (n - 1)  # position of the quantile itself
    low = int(np.clip(np.floor(n * q - spread), 0, np.floor(here)))
    high = int(np.clip(np.ceil(n * q + spread), np.ceil(here), n - 1))
    return Interval(float(np.quantile(ordered, q)), float(ordered[low]), float(ordered[high]))


def mcnemar_p(n_only_first: int, n_only_second: int) -> float:
    """Chance that two equally good models differ at least so much: the exact two-sided McNemar test.

    Args:
        n_only_first: Questions that only the first answered.
        n_only_second: Questions that only the second answered.
    """
    from scipy.stats import binomtest  # takes a second to import

    n = n_only_first + n_only_second
    return float(binomtest(n_only_first, n, 0.5).pvalue) if n else 1.0


def minimum_detectable(standard_error: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """Least true difference that a two-sided test at ``level`` finds with chance ``power`` (normal approximation)."""
    normal = NormalDist()
    return (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) * standard_error


def share_interval(n_right: int, n: int, *, level: float = 0.95) -> Interval:
    """A share of independent trials with Wilson's score interval (Wilson 1927), which holds at 0 and 1 too."""
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(n_right, n).proportion_ci(level, method="wilson")
    return Interval(n_right / n, float(interval.low), float(interval.high))


def mean_with_interval(per_window: Floats, *, seed: int) -> Interval:
    """Mean over windows with a block-bootstrap interval."""
    return block_bootstrap(per_window.size, lambda i: float(per_window[i].mean()), seed=seed, resamples=400)
