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
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Interval of a statistic of ``n`` neighbouring windows (circular block bootstrap, widened for few windows).

    A percentile interval of 16 to 64 windows covers 80 to 93 % instead of 95 %. Its ends are therefore moved away from
    the value: by Student's t for so many blocks, by the dependence that the blocks are too short for, and by the
    skewness of the windows (``tests/core/test_coverage.py`` counts what that holds). A single window tells nothing of
    its spread: the interval is its value.

    Args:
        n: Number of windows, in the order of the text.
        statistic: From drawn window indices (with repetition) to a number; pairing is kept because
            both sides of a comparison are read at the same indices.
        seed: Seed of the draws.
        resamples: Number of draws.
        level: Coverage.
        within: Least and greatest value that the statistic can have.
    """
    rng = np.random.default_rng(seed)
    length = block_length(n)
    starts = rng.integers(0, n, size=(resamples, -(-n // length)))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)[:, :n] % n
    values = np.array([statistic(row) for row in drawn])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    value, everyone = statistic(np.arange(n)), np.arange(n)
    if n < 2:
        return Interval(value, value, value)
    without = np.array([statistic(np.delete(everyone, i)) for i in range(n)])
    stretch = _stretch(n * value - (n - 1) * without, n_blocks=n / length, length=length, level=level)
    low, high = value - stretch * (value - low), value + stretch * (high - value)
    return Interval(value, max(float(low), within[0]), min(float(high), within[1]))


def _stretch(shares: Floats, *, n_blocks: float, length: int, level: float) -> float:
    """Return by how much a percentile interval is too short: ``shares`` are the windows' own parts of the value (jackknife)."""
    from scipy.special import stdtrit  # slow to import

    n, normal = shares.size, NormalDist().inv_cdf((1 + level) / 2)
    freedom = max(n_blocks - 1, 1)
    few = float(stdtrit(freedom, (1 + level) / 2)) / normal * math.sqrt(n_blocks / freedom)
    r = serial_correlation(shares)
    in_blocks = 1 + 2 * sum((1 - j / length) * r**j for j in range(1, length))
    dependent = math.sqrt(max(1.0, (1 + r) / (1 - r) / in_blocks))
    spread = float(shares.std())
    skewness = abs(float(((shares - shares.mean()) ** 3).mean())) / spread**3 if spread > 0 else 0.0
    return few * dependent * (1 + skewness / (2 * math.sqrt(n)))


def serial_correlation(values: Floats) -> float:
    """Return the correlation of neighbours, from 0 to 0.8, with the bias of a short series taken away (Kendall 1954)."""
    differences = values - values.mean()
    total = float((differences**2).sum())
    r = float((differences[1:] * differences[:-1]).sum()) / total if total > 0 else 0.0
    return min(0.8, max(0.0, r + 1 / values.size)) if total > 0 else 0.0


def median_over_rounds(values: Floats, *, level: float = 0.95) -> Interval:
    """Median of one time, rate or ratio for each round, with an interval that holds its level from 3 rounds on.

    Order statistics with the interpolation of Hettmansperger and Sheather 1986; below 6 rounds, where the extremes hold
    less than the level, Student's t. Widened where neighbouring rounds are alike. Such values are above zero and taken in
    the logarithm, so that the interval is too; differences need another one. A single round shows no spread: its interval is its value.
    """
    rounds, n = np.asarray(values, dtype=np.float64), len(values)
    median = float(np.median(rounds))
    if n < 2:
        return Interval(median, median, median)
    if rounds.min() > 0:
        low, high = (math.exp(end) for end in _median_ends(np.log(rounds), level))
    else:
        low, high = _median_ends(rounds, level)
    return Interval(median, min(low, median), max(high, median))


def _median_ends(rounds: Floats, level: float) -> tuple[float, float]:
    ordered, n = np.sort(rounds), rounds.size
    median = float(np.median(ordered))
    d, here, inner_level = _ranks(n, level)
    if d:
        part = (here - level) / (here - inner_level) if d < n // 2 else 0.0
        inner = (n - d) * part / (d + (n - 2 * d) * part)
        low, high = (float((1 - inner) * ordered[i] + inner * ordered[j]) for i, j in ((d - 1, d), (n - d, n - d - 1)))
    else:
        from scipy.special import stdtrit  # slow to import

        spread = 1.15 * float(stdtrit(n - 1, (1 + level) / 2)) * float(ordered.std(ddof=1)) / math.sqrt(n)
        low, high = median - spread, median + spread
    r = serial_correlation(rounds)
    stretch = math.sqrt((1 + r) / (1 - r))
    return median - stretch * (median - low), median + stretch * (high - median)


def _ranks(n: int, level: float) -> tuple[int, float, float]:
    """Return the innermost rank whose two order statistics hold the median at this level, what they hold, and what the next ones do.

    The rank is 0 where even the extremes hold less.
    """
    below, holds = 0, [1.0]
    for d in range(1, n // 2 + 2):
        below += math.comb(n, d - 1)
        holds.append(1 - 2 * below / 2**n)
        if holds[-1] < level:
            return d - 1, holds[-2], holds[-1]
    return n // 2, holds[-2], holds[-1]


def drift_fraction(values: Sequence[float]) -> float | None:
    """Change from the first to the last third of the rounds, as a fraction of the first; None below 6 rounds."""
    third = len(values) // 3
    if third < 2:
        return None
    first, last = (float(np.median(part)) for part in (values[:third], values[-third:]))
    return last / first - 1 if first > 0 else None


def middle_95(drawn: Floats | Sequence[float]) -> tuple[float, float]:
    """Return the ends of the 95 % interval of bootstrap draws."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def resampled_mean_interval(values: Floats, *, seed: int, resamples: int = 2000) -> tuple[float, float]:
    """Return the ends of the 95 % bootstrap interval of the mean of independent values."""
    drawn = np.random.default_rng(seed).choice(values, (resamples, len(values)))
    (low, high), mean = middle_95(drawn.mean(axis=1)), float(np.mean(values))
    stretch = _stretch(np.asarray(values, dtype=np.float64), n_blocks=len(values), length=1, level=0.95)
    return mean - stretch * (mean - low), mean + stretch * (high - mean)


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


def ratio_with_interval(numerator: Interval, denominator: Interval) -> Interval | None:
    """Ratio of two independent positive values from their intervals; None where the denominator's interval is too wide for one.

    The method of variance estimates recovery for ratios (Donner and Zou, Statistical Methods in Medical Research 21, 2012).
    """
    a, b = numerator, denominator
    if not (b.low > 0 and a.low >= 0 and 2 * b.value > b.high):
        return None
    product = a.value * b.value
    below = a.low * b.high * (2 * a.value - a.low) * (2 * b.value - b.high)
    above = a.high * b.low * (2 * a.value - a.high) * (2 * b.value - b.low)
    low = (product - math.sqrt(max(product**2 - below, 0.0))) / (b.high * (2 * b.value - b.high))
    high = (product + math.sqrt(max(product**2 - above, 0.0))) / (b.low * (2 * b.value - b.low))
    return Interval(a.value / b.value, max(low, 0.0), high)


def paired_ratio(numerators: Floats, denominators: Floats, *, seed: int = 0) -> Interval:
    """Ratio of the means of two series of the same windows, questions or requests in their order (block bootstrap of the pairs)."""
    return block_bootstrap(
        numerators.size, lambda i: float(numerators[i].sum() / denominators[i].sum()), seed=seed, within=(0.0, math.inf)
    )


def share_interval(n_right: int, n: int, *, level: float = 0.95) -> Interval:
    """A share of independent trials with Wilson's score interval (Wilson 1927), which holds at 0 and 1 too."""
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(n_right, n).proportion_ci(level, method="wilson")
    return Interval(n_right / n, float(interval.low), float(interval.high))


def mean_with_interval(per_window: Floats, *, seed: int) -> Interval:
    """Mean over windows with a block-bootstrap interval."""
    within = (0.0 if per_window.min() >= 0 else -math.inf, math.inf)
    return block_bootstrap(
        per_window.size, lambda i: float(per_window[i].mean()), seed=seed, resamples=400, within=within
    )
