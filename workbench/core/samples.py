"""What was sampled: signals over time on the machine's monotonic clock."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workbench.core.errors import StoreError

Floats = npt.NDArray[np.float64]
Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One sampled quantity."""

    name: str
    """Dotted, with the device first: ``gpu0.power_w``. The last part ends in the unit."""
    unit: str
    label: str
    kind: Kind = "gauge"
    """Counters only grow, until what counts is restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Samples of signals, each with its own times in seconds of the monotonic clock."""

    signals: Mapping[str, Signal]
    times_s: Mapping[str, Floats]
    values: Mapping[str, Floats]
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why a source or a signal is missing, by name."""

    def __contains__(self, name: str) -> bool:
        """Whether a signal has samples."""
        return name in self.values and self.values[name].size > 0

    def between(self, start_s: float, end_s: float) -> "Recording":
        """The samples of a span, ends included."""
        kept = {n: (t >= start_s) & (t <= end_s) for n, t in self.times_s.items()}
        return Recording(
            signals=self.signals,
            times_s={n: self.times_s[n][k] for n, k in kept.items()},
            values={n: self.values[n][k] for n, k in kept.items()},
            problems=self.problems,
        )

    def followed_by(self, new: "Recording", *, keep_s: float) -> "Recording":
        """Both after each other, the last seconds of them; samples that are here already are left out of the new one."""
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
        """Mean of a gauge over a span, weighted by time (linear between samples); None without samples around it."""
        t, v = self.times_s.get(name), self.values.get(name)
        if t is None or v is None or t.size == 0 or end_s <= start_s or t[0] > end_s or t[-1] < start_s:
            return None
        inside = t[(t > start_s) & (t < end_s)]
        at = np.concatenate(([start_s], inside, [end_s]))
        return float(np.trapezoid(np.interp(at, t, v), at) / (end_s - start_s))

    def increase(self, name: str, start_s: float, end_s: float) -> float | None:
        """How much a counter grew in a span (linear between samples); a restart counts from zero. None without two samples."""
        t, v = self.times_s.get(name), self.values.get(name)
        if t is None or v is None or t.size < 2 or end_s <= start_s:
            return None
        steps = np.diff(v)
        grown = np.concatenate(([0.0], np.cumsum(np.where(steps < 0, v[1:], steps))))
        first, last = np.interp([start_s, end_s], t, grown)
        return float(last - first)

    def thinned(self, name: str, n_parts: int) -> tuple[Floats, Floats, Floats]:
        """A signal in at most so many equal parts of its time: middles, least and greatest value of each."""
        t, v = self.times_s[name], self.values[name]
        if t.size <= n_parts:
            return t, v, v
        edges = np.linspace(t[0], t[-1], n_parts + 1)
        part = np.clip(np.searchsorted(edges, t, side="right") - 1, 0, n_parts - 1)
        first = np.flatnonzero(np.diff(part, prepend=-1))
        middles = (edges[:-1] + edges[1:])[part[first]] / 2
        return middles, np.minimum.reduceat(v, first), np.maximum.reduceat(v, first)

    def to_dict(self, *, digits: int = 6) -> dict[str, Any]:
        """Plain JSON values; times to the tenth of a millisecond, values to so many significant digits."""
        signals = []
        for name, signal in self.signals.items():
            if name in self:
                signals.append(
                    {
                        "name": name,
                        "unit": signal.unit,
                        "label": signal.label,
                        "kind": signal.kind,
                        "t": [round(float(t), 4) for t in self.times_s[name]],
                        "v": [_short(float(v), digits if signal.kind == "gauge" else 12) for v in self.values[name]],
                    }
                )
        return {"signals": signals, "problems": dict(self.problems)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Recording":
        """Read back; raises ``StoreError`` for anything else."""
        try:
            signals = {
                s["name"]: Signal(name=s["name"], unit=s["unit"], label=s["label"], kind=s["kind"])
                for s in data["signals"]
            }
            times = {s["name"]: np.array(s["t"], dtype=float) for s in data["signals"]}
            values = {s["name"]: np.array(s["v"], dtype=float) for s in data["signals"]}
            problems = dict(data.get("problems", {}))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"This is no recording: {type(error).__name__} {error}.", remedy="Name a file of `workbench record`."
            ) from error
        if any(times[n].shape != values[n].shape or times[n].ndim != 1 for n in times):
            raise StoreError("Times and values of a signal differ in number.", remedy="Record again.")
        return cls(signals=signals, times_s=times, values=values, problems=problems)

    @classmethod
    def from_rows(
        cls,
        signals: Mapping[str, Signal],
        rows: Iterable[tuple[float, Mapping[str, float]]],
        *,
        problems: Mapping[str, str] | None = None,
    ) -> "Recording":
        """From readings in the order of time."""
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
