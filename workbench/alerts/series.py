"""Samples of Prometheus metrics over time, and the functions of PromQL that the rules use, with its semantics.

Sources: ``extrapolatedRate`` and ``bucketQuantile`` of Prometheus 2.42 (promql/functions.go, promql/quantile.go), written
anew; the differential test compares every rule with promtool.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, nan

import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

Floats = npt.NDArray[np.float64]
Labels = tuple[tuple[str, str], ...]
LOOKBACK_S = 300.0  # a series without a sample for so long has no value
EXTRAPOLATED = 1.1  # gaps to the ends of a window up to so many mean gaps are bridged


def labels_of(labels: Mapping[str, str]) -> Labels:
    """Return labels in an order that compares."""
    return tuple(sorted(labels.items()))


@dataclass(slots=True)
class Series:
    """Samples of one metric with one set of labels, in the order of time."""

    times_s: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    """NaN marks a series as stale from then on, as a scrape without the series does."""


class SeriesStore:
    """Samples by metric and labels; old samples can be dropped."""

    def __init__(self) -> None:
        self._series: dict[str, dict[Labels, Series]] = {}

    def add(self, metric: str, labels: Mapping[str, str], at_s: float, value: float) -> None:
        """Add a sample to its series; times of a series must grow."""
        series = self._series.setdefault(metric, {}).setdefault(labels_of(labels), Series())
        if series.times_s and at_s <= series.times_s[-1]:
            raise InvalidSpec(
                gettext("A sample of {metric} at {at} s comes after one at {last} s.").format(
                    metric=metric, at=at_s, last=series.times_s[-1]
                ),
                remedy=gettext("Add samples in the order of time."),
            )
        series.times_s.append(at_s)
        series.values.append(value)

    def drop_before(self, at_s: float) -> None:
        """Drop the samples before a time, and series that have none left."""
        for metric, by_labels in list(self._series.items()):
            for labels, series in list(by_labels.items()):
                first = int(np.searchsorted(series.times_s, at_s))
                del series.times_s[:first], series.values[:first]
                if not series.times_s:
                    del by_labels[labels]
            if not by_labels:
                del self._series[metric]

    def _matching(self, metric: str, matchers: Mapping[str, str]) -> Iterable[tuple[Labels, Series]]:
        for labels, series in self._series.get(metric, {}).items():
            by_name = dict(labels)
            if all(by_name.get(name, "") == value for name, value in matchers.items()):
                yield labels, series

    def latest(self, metric: str, matchers: Mapping[str, str], at_s: float) -> dict[Labels, float]:
        """Return the newest value of each series, no older than ``LOOKBACK_S``."""
        values = {}
        for labels, series in self._matching(metric, matchers):
            i = int(np.searchsorted(series.times_s, at_s, side="right")) - 1
            if i >= 0 and series.times_s[i] >= at_s - LOOKBACK_S and series.values[i] == series.values[i]:
                values[labels] = series.values[i]
        return values

    def rate(self, metric: str, matchers: Mapping[str, str], at_s: float, window_s: float) -> dict[Labels, float]:
        """Return the growth per second of each counter over a window that ends now, extrapolated to the window as PromQL's ``rate``."""
        rates = {}
        for labels, series in self._matching(metric, matchers):
            first = int(np.searchsorted(series.times_s, at_s - window_s, side="left"))
            last = int(np.searchsorted(series.times_s, at_s, side="right"))
            t, v = np.array(series.times_s[first:last]), np.array(series.values[first:last])
            there = ~np.isnan(v)
            rate = extrapolated_rate(t[there], v[there], at_s - window_s, at_s)
            if rate is not None:
                rates[labels] = rate
        return rates


def extrapolated_rate(times_s: Floats, values: Floats, start_s: float, end_s: float) -> float | None:
    """Return the growth per second of a counter over a window; None with fewer than two samples.

    Restarts count from zero. The growth between the first and the last sample is stretched to the window's ends where those are
    near, and by half a gap where they are not; never to before the counter would have been zero.
    """
    if times_s.size < 2:
        return None
    steps = np.diff(values)
    grown = float(values[-1] - values[0] + values[:-1][steps < 0].sum())
    to_start, to_end = float(times_s[0] - start_s), float(end_s - times_s[-1])
    sampled = float(times_s[-1] - times_s[0])
    gap = sampled / (times_s.size - 1)
    if grown > 0 and values[0] >= 0:
        to_start = min(to_start, sampled * float(values[0]) / grown)
    reach = sampled
    for distance in (to_start, to_end):
        reach += distance if distance < EXTRAPOLATED * gap else gap / 2
    return grown * (reach / sampled / (end_s - start_s))  # in Prometheus' order, so that ties fall alike


def sums_by(values: Mapping[Labels, float], by: Iterable[str] = ()) -> dict[Labels, float]:
    """Return the sums over series that agree in some labels; none without series."""
    kept = set(by)
    sums: dict[Labels, float] = {}
    for labels, value in values.items():
        key = tuple((n, v) for n, v in labels if n in kept)
        sums[key] = sums.get(key, 0.0) + value
    return sums


def bucket_quantile(q: float, buckets: Mapping[float, float]) -> float:
    """Return a quantile from cumulative counts by upper bound, linear inside a bucket; NaN without counts.

    Args:
        q: Quantile between 0 and 1.
        buckets: Counts by upper bound, the last of which is infinite.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != inf:
        return nan
    counts = np.maximum.accumulate([buckets[b] for b in bounds])
    total = float(counts[-1])
    if not total > 0:
        return nan
    rank = q * total
    at = int(np.argmax(counts[:-1] >= rank)) if np.any(counts[:-1] >= rank) else len(bounds) - 1
    if at == len(bounds) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    start, below = (0.0, 0.0) if at == 0 else (bounds[at - 1], float(counts[at - 1]))
    inside = float(counts[at]) - below
    return start + (bounds[at] - start) * ((rank - below) / inside) if inside else bounds[at]
