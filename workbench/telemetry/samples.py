"""Recordings: signals over time on the machine's monotonic clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from workbench.core.errors import StoreError
from workbench.core.language import gettext

Floats = npt.NDArray[np.float64]
Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One quantity that is sampled over time."""

    name: str
    """Dotted, with the device first: ``gpu0.power_w``. The last part ends in the unit."""
    unit: str
    label: str
    kind: Kind = "gauge"
    """Counters only grow, until the process that counts is restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledSignal(Signal):
    """A signal with its samples, as a run keeps them."""

    t: Sequence[float]
    """Times in seconds of the monotonic clock."""
    v: Sequence[float]
    """Values in the signal's unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledSignals:
    """A recording as a run keeps it."""

    signals: Sequence[SampledSignal] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why a source or a signal is missing, by name."""
    cpu_s: float | None = None
    """Processor time of the sampler."""
    n_late: int | None = None
    """Samples that began more than a period late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Samples of signals, each with its own times in seconds of the monotonic clock."""

    signals: Mapping[str, Signal]
    times_s: Mapping[str, Floats]
    values: Mapping[str, Floats]
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why a source or a signal is missing, by name."""

    def __contains__(self, name: str) -> bool:
        """Return whether a signal has samples."""
        return name in self.values and self.values[name].size > 0

    def between(self, start_s: float, end_s: float) -> "Recording":
        """Return the samples of a span, ends included."""
        kept = {n: (t >= start_s) & (t <= end_s) for n, t in self.times_s.items()}
        return Recording(
            signals=self.signals,
            times_s={n: self.times_s[n][k] for n, k in kept.items()},
            values={n: self.values[n][k] for n, k in kept.items()},
            problems=self.problems,
        )

    def followed_by(self, new: "Recording", *, keep_s: float) -> "Recording":
        """Return this recording and a later one as one, cut to the last seconds; samples that both hold appear once."""
        times, values = dict(self.times_s), dict(self.values)
        for name, t in new.times_s.items():
            before = times.get(name, np.empty(0))
            fresh = t > (before[-1] if before.size else -np.inf)
            times[name] = np.concatenate([before, t[fresh]])
            values[name] = np.concatenate([values.get(name, np.empty(0)), new.values[name][fresh]])
        last = max((float(t[-1]) for t in times.values() if t.size), default=0.0)
        signals = dict(self.signals) | dict(new.signals)
        whole = Recording(signals=signals, times_s=times, values=values, problems=new.problems)
        return whole.between(last - keep_s, last)

    def mean(self, name: str, start_s: float, end_s: float) -> float | None:
        """Return the mean of a gauge over a span, weighted by time (linear between samples); None without samples around it."""
        t, v = self.times_s.get(name), self.values.get(name)
        if t is None or v is None or t.size == 0 or end_s <= start_s or t[0] > end_s or t[-1] < start_s:
            return None
        inside = t[(t > start_s) & (t < end_s)]
        at = np.concatenate(([start_s], inside, [end_s]))
        return float(np.trapezoid(np.interp(at, t, v), at) / (end_s - start_s))

    def increase(self, name: str, start_s: float, end_s: float) -> float | None:
        """Return the growth of a counter in a span (linear between samples); a restart counts from zero. None without two samples."""
        t, v = self.times_s.get(name), self.values.get(name)
        if t is None or v is None or t.size < 2 or end_s <= start_s:
            return None
        steps = np.diff(v)
        grown = np.concatenate(([0.0], np.cumsum(np.where(steps < 0, v[1:], steps))))
        first, last = np.interp([start_s, end_s], t, grown)
        return float(last - first)

    def thinned(self, name: str, n_parts: int) -> tuple[Floats, Floats, Floats]:
        """Return a signal in at most ``n_parts`` equal parts of its time: middle, least and greatest value of each."""
        t, v = self.times_s[name], self.values[name]
        if t.size <= n_parts:
            return t, v, v
        edges = np.linspace(t[0], t[-1], n_parts + 1)
        part = np.clip(np.searchsorted(edges, t, side="right") - 1, 0, n_parts - 1)
        first = np.flatnonzero(np.diff(part, prepend=-1))
        middles = (edges[:-1] + edges[1:])[part[first]] / 2
        return middles, np.minimum.reduceat(v, first), np.maximum.reduceat(v, first)

    def sampled(self, *, digits: int = 6) -> SampledSignals:
        """Return the recording as a run keeps it: times to the tenth of a millisecond, values to ``digits`` significant digits."""
        signals = [
            SampledSignal(
                name=signal.name,
                unit=signal.unit,
                label=signal.label,
                kind=signal.kind,
                t=[round(float(t), 4) for t in self.times_s[name]],
                v=[_short(float(v), digits if signal.kind == "gauge" else 12) for v in self.values[name]],
            )
            for name, signal in self.signals.items()
            if name in self
        ]
        return SampledSignals(signals=signals, problems=dict(self.problems))

    @classmethod
    def of(cls, kept: SampledSignals) -> "Recording":
        """Return a recording that a run keeps; raises ``StoreError`` where times and values differ in number."""
        if any(len(s.t) != len(s.v) for s in kept.signals):
            raise StoreError(gettext("Times and values of a signal differ in number."), remedy=gettext("Record again."))
        return cls(
            signals={s.name: Signal(name=s.name, unit=s.unit, label=s.label, kind=s.kind) for s in kept.signals},
            times_s={s.name: np.array(s.t, dtype=float) for s in kept.signals},
            values={s.name: np.array(s.v, dtype=float) for s in kept.signals},
            problems=kept.problems,
        )

    @classmethod
    def from_rows(
        cls,
        signals: Mapping[str, Signal],
        rows: Iterable[tuple[float, Mapping[str, float]]],
        *,
        problems: Mapping[str, str] | None = None,
    ) -> "Recording":
        """Return the recording of readings, which come in the order of time."""
        times: dict[str, list[float]] = {}
        values: dict[str, list[float]] = {}
        for at, reading in rows:
            for name, value in reading.items():
                times.setdefault(name, []).append(at)
                values.setdefault(name, []).append(value)
        return cls(
            signals={n: signals[n] for n in times},
            times_s={n: np.array(t) for n, t in times.items()},
            values={n: np.array(v) for n, v in values.items()},
            problems=dict(problems or {}),
        )


def _short(value: float, digits: int) -> float | int:
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short
