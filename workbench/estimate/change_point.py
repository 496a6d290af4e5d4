"""When did latency jump? A cumulative sum over log latencies, with a false-alarm rate that is kept.

Page's CUSUM (1954) on values standardized by the median and the median absolute deviation of a baseline. The threshold is not the
textbook's, which takes centre and scale as known and values as normal and independent. It is the larger of two: of simulated log-normal
streams whose baseline is estimated from as few values as here, and of streams drawn from the baseline itself in blocks of neighbours (circular
block bootstrap), which have its tails. Where neighbours are alike, as in a queue, means of several are watched. What a baseline does not show,
such as a rate that grows, still looks like a change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
import numpy.typing as npt

from workbench.core.dependent import dependence
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.statistics import block_length

Floats = npt.NDArray[np.float64]
ALLOWANCE = 0.5  # in standard deviations: shifts of twice this are found soonest
LEAST_BASELINE = 20
MAD_TO_SIGMA = 1.4826  # of a normal distribution
STREAMS, REDRAWN = 4000, 500
ALIKE, PER_DEPENDENCE = 2.0, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A shift that was found."""

    at: int
    """Index, in the watched values, at which the alarm went off."""
    since: int
    """Index at which the shift most likely began: where the sum was last zero."""
    factor: float
    """Median of the values since then over the baseline's median."""


def threshold_for(n_baseline: int, horizon: int, false_alarm_rate: float) -> float:
    """Return the sum at which to alarm, so that this share of whole streams without a change alarm within the horizon.

    Centre and scale are estimated from ``n_baseline`` values.
    """
    _require(n_baseline, horizon, false_alarm_rate)
    return float(np.quantile(_highest_sums(n_baseline, horizon), 1 - false_alarm_rate))


def _require(n_baseline: int, horizon: int, false_alarm_rate: float) -> None:
    """Raise ``InvalidSpec`` for what cannot be watched."""
    if not 0 < false_alarm_rate < 1:
        cause = gettext("A false-alarm rate of {share}.").format(share=false_alarm_rate)
        raise InvalidSpec(cause, remedy=gettext("Give a share between 0 and 1, such as 0.01."))
    if n_baseline < LEAST_BASELINE or horizon < 1:
        raise InvalidSpec(
            gettext("A baseline of {n} and a horizon of {horizon}.").format(n=n_baseline, horizon=horizon),
            remedy=gettext("Give {n} or more values before the watch, and one or more to watch.").format(
                n=LEAST_BASELINE
            ),
        )


@lru_cache(maxsize=32)
def _highest_sums(n_baseline: int, horizon: int) -> Floats:
    """Return the highest sum of each of many simulated streams without a change."""
    rng = np.random.default_rng(0)
    baseline = rng.standard_normal((STREAMS, n_baseline))
    centre = np.median(baseline, axis=1)
    scale = MAD_TO_SIGMA * np.median(np.abs(baseline - centre[:, None]), axis=1)
    total, highest = np.zeros(STREAMS), np.zeros(STREAMS)
    for _ in range(horizon):
        total = np.maximum(0.0, total + (rng.standard_normal(STREAMS) - centre) / scale - ALLOWANCE)
        highest = np.maximum(highest, total)
    return highest


def threshold_of(logs: Floats, horizon: int, false_alarm_rate: float) -> float:
    """Return the sum at which to alarm, so that this share of streams drawn from the baseline itself alarm within the horizon.

    Neighbours are drawn together, which keeps what is left of their dependence.
    """
    n, length = logs.size, block_length(logs.size)
    rng = np.random.default_rng(0)

    def drawn(size: int) -> Floats:
        starts = rng.integers(0, n, size=(REDRAWN, -(-size // length)))
        rows: Floats = logs[(starts[:, :, None] + np.arange(length)).reshape(REDRAWN, -1)[:, :size] % n]
        return rows

    baseline, watched = drawn(n), drawn(horizon)
    centre = np.median(baseline, axis=1)
    scale = MAD_TO_SIGMA * np.median(np.abs(baseline - centre[:, None]), axis=1)
    scale = np.maximum(scale, 0.1 * float(np.median(scale)))
    total, highest = np.zeros(REDRAWN), np.zeros(REDRAWN)
    for values in watched.T:
        total = np.maximum(0.0, total + (values - centre) / scale - ALLOWANCE)
        highest = np.maximum(highest, total)
    return float(np.quantile(highest, 1 - false_alarm_rate))


def together(logs: Floats) -> int:
    """Return how many neighbours are taken as one value, so that these are nearly independent; 1 where neighbours are not alike."""
    tau = dependence(logs)
    return ceil(PER_DEPENDENCE * tau) if tau > ALIKE else 1


def first_change(
    baseline_s: Sequence[float], watched_s: Sequence[float], *, false_alarm_rate: float = 0.01
) -> Change | None:
    """Return the first lasting rise of latency over a baseline, both in the order of time; or None.

    Where neighbours are alike, as in a queue, the means of so many of them are watched that these are nearly independent. None too where the
    baseline has fewer than ``LEAST_BASELINE`` such means, as near saturation: a queue that long is no measure of chance.

    Raises ``InvalidSpec`` for fewer than ``LEAST_BASELINE`` values before, or latencies that are not above zero.
    """
    before, after = np.asarray(baseline_s, dtype=float), np.asarray(watched_s, dtype=float)
    if (before.size and before.min() <= 0) or (after.size and after.min() <= 0):
        raise InvalidSpec(gettext("A latency is not above zero."), remedy=gettext("Give seconds."))
    if not after.size:
        return None
    _require(int(before.size), int(after.size), false_alarm_rate)
    size = together(np.log(before))
    logs, watched = _means(np.log(before), size), _means(np.log(after), size)
    if logs.size < LEAST_BASELINE or not watched.size:
        return None
    # A power of two, so that few thresholds are simulated; a longer horizon keeps the rate all the more.
    horizon = 1 << (int(watched.size) - 1).bit_length()
    threshold = threshold_for(int(logs.size), horizon, false_alarm_rate)
    centre = float(np.median(logs))
    scale = MAD_TO_SIGMA * float(np.median(np.abs(logs - centre)))
    if scale == 0:
        raise InvalidSpec(
            gettext("More than half of the baseline's latencies are the same."),
            remedy=gettext("Measure finer, or longer."),
        )
    threshold = max(threshold, threshold_of(logs, horizon, false_alarm_rate))
    total, since = 0.0, 0
    for i, value in enumerate(watched):
        if total == 0:
            since = i
        total = max(0.0, total + (float(value) - centre) / scale - ALLOWANCE)
        if total > threshold:
            factor = float(np.exp(np.median(watched[since : i + 1]) - centre))
            return Change(at=(i + 1) * size - 1, since=since * size, factor=factor)
    return None


def _means(values: Floats, size: int) -> Floats:
    """Return the means of so many neighbours; what is left at the end is left out."""
    n = values.size // size
    means: Floats = values[: n * size].reshape(n, size).mean(axis=1)
    return means
