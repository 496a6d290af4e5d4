"""Intervals for values that depend on their neighbours, such as latencies of requests that waited in one queue."""

import math
from dataclasses import dataclass

import numpy as np

from workbench.core.statistics import Floats, Interval, serial_correlation

N_BATCHES = 20
ENOUGH_EPISODES = 20
"""From so many independent rare events on, their own dependence is known well enough."""
LEAST_INDEPENDENT = 50
"""A mean of fewer independent values has no interval: the runs that look calm by chance would have one that is too short."""


def dependence(values: Floats) -> float:
    """Return how many values in a row tell as much as one independent value: the integrated autocorrelation time, from 1 on.

    The larger of two estimates: the initial monotone sequence (Geyer 1992), and batch means corrected for what is left
    of their correlation. A series that is not many times as long as its dependence hides part of it.
    """
    n = values.size
    differences = np.asarray(values - values.mean(), dtype=np.float64)
    variance = float((differences**2).mean())
    if n < 4 or variance <= (1e-9 * float(values.mean())) ** 2:  # what differs by rounding alone is constant
        return 1.0
    size = 1 << math.ceil(math.log2(2 * n))
    spectrum = np.fft.rfft(differences, size)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), size)[:n] / (n * variance)
    half = n // 2
    pairs = correlation[0 : 2 * half : 2] + correlation[1 : 2 * half : 2]
    first_negative = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else half
    sequence = 2 * float(np.minimum.accumulate(pairs[:first_negative]).sum()) - 1
    return max(1.0, sequence, _by_batches(values, variance))


def _by_batches(values: Floats, variance: float) -> float:
    length = values.size // N_BATCHES
    if length < 2:
        return 1.0
    means = values[: length * N_BATCHES].reshape(N_BATCHES, length).mean(1)
    r = serial_correlation(means)
    return length * float(means.var(ddof=1)) / variance * (1 + r) / (1 - r)


@dataclass(frozen=True, slots=True, kw_only=True)
class DependentShare:
    """A share of dependent trials with its 95 % interval."""

    low: float
    high: float
    n_independent: float
    """Independent trials that tell as much."""


def share_with_dependence(hits: Floats, by: Floats | None = None) -> DependentShare:
    """Return the interval of a share of dependent trials: Wilson's for the number of independent ones, with Student's t.

    Args:
        hits: 1 or 0 for each trial, in the order of time: (n,).
        by: What the trials follow from, such as latencies: (n,). Its dependence counts where the rarer outcome has too
            few episodes to show its own.
    """
    from scipy.special import stdtrit  # slow to import

    n, share = hits.size, float(hits.mean())
    own = dependence(hits)
    episodes = n * share * (1 - share) / own
    tau = own if by is None or episodes >= ENOUGH_EPISODES else max(own, dependence(by))
    independent = n / tau
    z = float(stdtrit(max(independent - 1, 1), 0.975))
    middle = (share + z * z / (2 * independent)) / (1 + z * z / independent)
    half = z * math.sqrt(share * (1 - share) / independent + z * z / (4 * independent**2)) / (1 + z * z / independent)
    return DependentShare(low=max(0.0, middle - half), high=min(1.0, middle + half), n_independent=independent)


def mean_with_dependence(values: Floats) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of positive dependent values; None where too few of them are independent.

    The interval is symmetric in the logarithm, and the dependence is taken at the upper end of what it may be.
    """
    from scipy.special import stdtrit  # slow to import

    mean, tau, n = float(values.mean()), dependence(values), values.size
    if n / tau < LEAST_INDEPENDENT or mean <= 0:
        return None
    independent = n / (tau * (1 + 3 * math.sqrt(tau / n)))
    half = float(stdtrit(independent - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(independent) / mean
    return mean * math.exp(-half), mean * math.exp(half)


def mean_of_batches(batches: Floats, *, within: tuple[float, float] = (-math.inf, math.inf)) -> Interval:
    """Return the mean of equally long batches of a series with its 95 % interval: Student's t, widened where neighbours are alike.

    Args:
        batches: Means of consecutive batches, each longer than what makes values of the series alike: (n,). One alone shows no spread.
        within: Least and greatest value that the mean can have.
    """
    from scipy.special import stdtrit  # slow to import

    n, mean = batches.size, float(batches.mean())
    if n < 2:
        return Interval(mean, mean, mean)
    r = serial_correlation(batches)
    error = float(batches.std(ddof=1)) * math.sqrt((1 + r) / (1 - r) / n)
    half = float(stdtrit(n - 1, 0.975)) * error
    return Interval(mean, max(mean - half, within[0]), min(mean + half, within[1]))
