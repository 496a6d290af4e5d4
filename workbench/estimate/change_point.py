"""When did latency jump? A cumulative sum over log latencies, with a false-alarm rate that is kept.

Page's CUSUM (1954) on values standardized by the median and the median absolute deviation of a baseline. The threshold is not the
textbook's, which takes centre and scale as known: it is found by simulating streams without a change whose baseline is
estimated from as few values as here, so that the stated rate holds for independent, log-normal latencies. Heavier tails raise it, and so
do values that depend on each other: within one load, waits in a queue and a rate that grows look like a change, so it is for streams of
values that are apart, such as a probe's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec

Floats = npt.NDArray[np.float64]
ALLOWANCE = 0.5  # in standard deviations: shifts of twice this are found soonest
LEAST_BASELINE = 20
MAD_TO_SIGMA = 1.4826  # of a normal distribution
STREAMS = 4000


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
    if not 0 < false_alarm_rate < 1:
        cause = f"A false-alarm rate of {false_alarm_rate}."
        raise InvalidSpec(cause, remedy="Give a share between 0 and 1, such as 0.01.")
    if n_baseline < LEAST_BASELINE or horizon < 1:
        raise InvalidSpec(
            f"A baseline of {n_baseline} and a horizon of {horizon}.",
            remedy=f"Give {LEAST_BASELINE} or more values before the watch, and one or more to watch.",
        )
    return float(np.quantile(_highest_sums(n_baseline, horizon), 1 - false_alarm_rate))


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


def first_change(
    baseline_s: Sequence[float], watched_s: Sequence[float], *, false_alarm_rate: float = 0.01
) -> Change | None:
    """Return the first lasting rise of latency, in the order of time, over a baseline in any order; or None.

    Raises ``InvalidSpec`` for fewer than ``LEAST_BASELINE`` values before, or latencies that are not above zero.
    """
    before, after = np.asarray(baseline_s, dtype=float), np.asarray(watched_s, dtype=float)
    if (before.size and before.min() <= 0) or (after.size and after.min() <= 0):
        raise InvalidSpec("A latency is not above zero.", remedy="Give seconds.")
    if not after.size:
        return None
    # A power of two, so that few thresholds are simulated; a longer horizon keeps the rate all the more.
    horizon = 1 << (int(after.size) - 1).bit_length()
    threshold = threshold_for(int(before.size), horizon, false_alarm_rate)
    logs = np.log(before)
    centre = float(np.median(logs))
    scale = MAD_TO_SIGMA * float(np.median(np.abs(logs - centre)))
    if scale == 0:
        raise InvalidSpec(
            "More than half of the baseline's latencies are the same.", remedy="Measure finer, or longer."
        )
    total, since = 0.0, 0
    for i, value in enumerate(np.log(after)):
        if total == 0:
            since = i
        total = max(0.0, total + (float(value) - centre) / scale - ALLOWANCE)
        if total > threshold:
            return Change(at=i, since=since, factor=float(np.exp(np.median(np.log(after[since : i + 1])) - centre)))
    return None
