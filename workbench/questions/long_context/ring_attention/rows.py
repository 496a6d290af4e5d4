"""What a run of ring attention holds: a row for each length and number of devices."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.rows import Row, Samples
from workbench.core.runs import Run
from workbench.core.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class RingPlace:
    """What was timed: the attention of one layer over a sequence that several devices share."""

    n_devices: int
    """Devices, or processes on a CPU."""
    length_tokens: int
    """Tokens of the whole sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingTime(RingPlace, Row):
    """Prefill attention of one layer over a sequence that several devices share."""

    p50_s: Interval
    """Median time of a round, of its slowest device, with its 95 % interval."""
    n: int
    """Number of timed rounds."""
    max_error: float
    """Largest absolute error of some rows of every device against float64."""
    peak_bytes: int | None
    """Peak memory of the device that used most; None on a CPU."""
    speedup: float | None = None
    """Median time of one device over this one; None where one device was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingSeconds(RingPlace):
    """Time of each round, of its slowest device."""

    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RingSamples(Samples):
    """Raw samples of ring attention."""

    rounds: tuple[RingSeconds, ...] = ()


ROWS = (RingTime,)
SAMPLES = RingSamples


def largest_ring(runs: Sequence[Run]) -> tuple[Run, RingTime] | None:
    """Return the row of several devices, with its run, that is of the longest context and the most devices."""
    rows = [(run, r) for run in runs for r in run.rows(RingTime) if r.speedup and r.n_devices > 1]
    return max(rows, key=lambda pair: (pair[1].length_tokens, pair[1].n_devices), default=None)
