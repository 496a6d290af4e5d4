"""What a run of structured output holds: answers of both kinds, and what a schema adds to the times of plain ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersOfKind(Row):
    """Answers to the same prompts with the same limit on their length, with a schema or without."""

    part: ClassVar[str] = "answers"

    variant: Literal["plain", "structured"]
    valid: Interval
    """Share of the answers to different prompts that keep to the schema, with Wilson's 95 % interval."""
    n_prompts: int
    """Different prompts that were answered."""
    cut_fraction: float
    """Share of the answers that ended at the limit of their length."""
    tokens_per_answer: float
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    tpot_p50_s: float | None
    n_requests: int
    n_failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureCost(Row):
    """What a schema adds, in the same rounds; medians over rounds with 95 % intervals."""

    part: ClassVar[str] = "cost"

    first_extra_s: Interval
    """TTFT of the first request with a schema, asked alone, less that of a plain one: the grammar is compiled."""
    later_extra_s: Interval
    """The same for the next request with that schema."""
    ttft_ratio: Interval
    """Median TTFT under the load over that of plain answers."""
    tpot_ratio: Interval
    """Likewise for TPOT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredSamples(Samples):
    """Raw samples of a run of structured output."""

    alone_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """TTFT of requests asked alone, the median of each round: plain, first and later ones with a schema."""
    ttft_s: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Of each request under the load, by kind, rounded to 0.1 ms."""
    tpot_s: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Likewise, rounded to 0.01 ms."""


ROWS = (AnswersOfKind, StructureCost)
SAMPLES = StructuredSamples
