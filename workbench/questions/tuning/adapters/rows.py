"""What a run of adapters holds: loads on adapters beside the base model, and the memory of each server's slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLoad(Row):
    """Requests that are spread over some adapters of a server, beside those to its base model in the same rounds."""

    part: ClassVar[str] = "load"

    rank: int | None
    """Largest rank of the server's adapters; None: a running server, which does not say."""
    slots: int
    """Adapters that a step may use."""
    n_adapters: int
    """Adapters that the requests are spread over; 0 is the base model."""
    skew: float
    """Zipf exponent of their use; 0 is even."""
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    tpot_p50_s: float | None
    output_tokens_per_s: float | None
    """With all requests sent at the same time; median of the rounds."""
    n_requests: int
    """Requests at the rate, of all rounds."""
    n_failed: int
    ttft_ratio: Interval | None
    """Median TTFT over that of the base model, median over rounds with its 95 % interval; None for the base model."""
    tpot_ratio: Interval | None
    """Likewise."""
    throughput_ratio: Interval | None
    """Output tokens per second over those of the base model, likewise."""
    missed_fraction: float
    """Share of the requests whose adapter was in no slot, by least recent use in the order of arrival."""
    missed_extra_s: Interval | None
    """Median TTFT of requests that missed less that of those that did not, median over rounds; None without both kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterServer(Row):
    """A server of one rank and number of slots."""

    part: ClassVar[str] = "server"

    rank: int | None
    slots: int
    adapter_bytes: float | None
    """Estimated memory of one slot, in the precision that the server computes in; None for a model that is not known."""
    cache_tokens: int | None
    """Tokens of the KV cache by the server's log; None where it does not say."""
    startup_s: float | None
    """Time of its launch; None where it ran already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptersSamples(Samples):
    """Raw samples of a run of adapters."""

    throughput_ratios: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Of each round, by rank, slots, adapters and skew."""
    ttft_s: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Of each request at the rate, likewise, rounded to 0.1 ms."""


ROWS = (AdapterLoad, AdapterServer)
SAMPLES = AdaptersSamples
