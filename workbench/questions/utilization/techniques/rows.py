"""What a run of techniques leaves behind: a row for each technique, profiles of steps, and what the device reaches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from workbench.core.provenance import Provenance
from workbench.core.rows import Row, Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique(Row):
    """A technique that may raise the use of a device."""

    technique: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMeasured(Technique):
    """A technique whose gain is not known."""

    part: ClassVar[str] = "not measured"

    status: Literal["not available", "failed"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain(Technique):
    """A technique compared with going without it."""

    provenance: Provenance
    what: str
    """What is compared with what, in words."""
    gain: float
    """How many times as good as without the technique; 1 is no gain."""
    reduction_percent: float
    """Share of the time, or of the memory, that the technique saves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCounts:
    """Operators that one step launches without the technique and with it."""

    without: float
    with_it: float

    @property
    def reduction_percent(self) -> float:
        """Share of the operators that the technique saves."""
        return 100 * (1 - self.with_it / self.without)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeGain(Gain):
    """A technique that was timed."""

    part: ClassVar[str] = "time"

    provenance: Provenance = Provenance.MEASURED
    without_s: float
    """Median time of a unit of work without the technique."""
    with_s: float
    gain_interval: tuple[float, float]
    """95 % interval of the gain (block bootstrap over the rounds)."""
    operators: OperatorCounts | None = None
    """None for techniques that do not change the operators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryGain(Gain):
    """A technique whose saved cache memory was computed."""

    part: ClassVar[str] = "memory"

    provenance: Provenance = Provenance.ESTIMATED
    without_fraction: float
    """Share of the cache that holds no token without the technique."""
    with_fraction: float
    bytes_per_token: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """A kind of operator in a profile."""

    name: str
    s: float
    """Time of these operators in one step, in seconds."""
    n: float
    """Number of calls in one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProfile:
    """Where the time of a step goes."""

    wall_s: float
    """Time of the step without the profiler."""
    busy_s: float
    """Time inside operators, under the profiler."""
    n_operators: float
    by_category_s: Mapping[str, float]
    """Time inside operators by their kind."""
    largest: Sequence[OperatorTime]
    flop: float
    bytes: float
    """Weights, which a step reads once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """What the device reaches in a large float32 product and in a large copy."""

    flop_per_s: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TechniquesSamples(Samples):
    """Profiles of steps, and the device's measured peaks."""

    profiles: Mapping[str, StepProfile] = field(default_factory=dict)
    """Profiles by what the step does."""
    roof: Roof


ROWS = (TimeGain, MemoryGain, NotMeasured)
SAMPLES = TechniquesSamples
