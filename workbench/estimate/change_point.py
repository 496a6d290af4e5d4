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
    """The sum at which to alarm, so that this share of streams without a change alarm within the horizon.

    Args:
        n_baseline: Values that centre and scale are estimated from.
        horizon: Values that are watched.
        false_alarm_rate: Of whole streams, not of values.
    """
    require_fraction_of(false_alarm_rate)
    if n_baseline < LEAST_BASELINE or horizon < 1:
        raise InvalidSpec(
            f"A baseline of {n_baseline} and a horizon of {horizon}.",
            remedy=f"Give {LEAST_BASELINE} or more values before the watch, and one or more to watch.",
        )
    highest = _highest_sums(n_baseline, horizon)
    return float(np.quantile(highest, 1 - false_alarm_rate))


def require_fraction_of(rate: float) -> None:
    """Raise ``InvalidSpec`` unless a rate lies between 0 and 1, both excluded."""
    if not 0 < rate < 1:
        raise InvalidSpec(f"A false-alarm rate of {rate}.", remedy="Give a share between 0 and 1, such as 0.01.")


@lru_cache(maxsize=32)
def _highest_sums(n_baseline: int, horizon: int) -> Floats:
    """Highest sum of each of many simulated streams without a change."""
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
    """The first lasting rise of latency over a baseline, or None.

    Args:
        baseline_s: Latencies of a healthy time, seconds, in any order.
        watched_s: Latencies in the order of time.
        false_alarm_rate: Chance of an alarm in as many values without a change.

    Raises ``InvalidSpec`` for fewer than ``LEAST_BASELINE`` values before, or latencies that are not above zero.
    """
    before, after = np.asarray(baseline_s, dtype=float), np.asarray(watched_s, dtype=float)
    if (before.size and before.min() <= 0) or (after.size and after.min() <= 0):
        raise InvalidSpec("A latency is not above zero.", remedy="Give seconds.")
    if not after.size:
        return None
    threshold = threshold_for(int(before.size), _rounded_up(int(after.size)), false_alarm_rate)
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


def _rounded_up(n: int) -> int:
    """A power of two, so that few thresholds are simulated; a longer horizon keeps the rate all the more."""
    return 1 << max(0, n - 1).bit_length()
