"""What a run of served techniques holds: the use of the device with and without each technique, and what it did for the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTechnique(Row):
    """A technique of a serving engine."""

    technique: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotServed(ServedTechnique):
    """A technique that was not measured, with the reason."""

    part: ClassVar[str] = "not measured"

    status: Literal["not available", "failed"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSide:
    """A server under the load, with a technique or without it."""

    flags: Sequence[str]
    """With which it was launched, beside those of every launch."""
    variables: Mapping[str, str]
    """Of its environment."""
    utilization_fraction: Interval | None
    """Share of the time in which any kernel ran, by NVML, however little of the GPU it used: the mean over the steady part of all
    rounds with its 95 % interval from batch means of a second. NVML reads it over periods of 1/6 to 1 s. None: not sampled."""
    tensor_active_fraction: Interval | None
    """Share of the time in which tensor cores worked, by GPM; None: not sampled."""
    output_tokens_per_s: float
    """Median of the rounds, over the same seconds."""
    tpot_p50_s: float | None
    """Median of the rounds' medians."""
    n_failed: int
    """Requests of all rounds that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedGain(ServedTechnique):
    """A technique of a serving engine, compared with going without it under the same closed loop."""

    part: ClassVar[str] = "gain"

    what: str
    """What is compared with what, in words."""
    without: ServedSide
    with_it: ServedSide
    utilization_gain: Interval | None
    """Utilization with the technique less that without it, of batch means at the same seconds of a round; None: not sampled."""
    throughput_ratio: Interval
    """Output tokens per second over those without the technique: median of the rounds' ratios with its 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledLoad:
    """The steady part of one load on one server."""

    utilization_percent: Sequence[float] = ()
    """Means of consecutive seconds; empty where no GPU was sampled."""
    tensor_active_percent: Sequence[float] = ()
    output_tokens_per_s: float
    tpot_s: float | None
    """Median of its requests; None where no request had two chunks."""
    n_failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTechniquesSamples(Samples):
    """Raw samples of a run of served techniques."""

    loads: Mapping[str, Sequence[SampledLoad]] = field(default_factory=dict)
    """Loads of each launch, one a round."""
    startup_s: Mapping[str, float] = field(default_factory=dict)
    """Time of each launch; those of a group start at once."""


ROWS = (ServedGain, NotServed)
SAMPLES = ServedTechniquesSamples
