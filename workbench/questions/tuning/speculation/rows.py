"""What a run of speculation holds: acceptance by kind of text, times of parts of a step, and speed-ups beside their prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance(Row):
    """How many draft tokens a model accepts in answers to texts of one kind."""

    part: ClassVar[str] = "acceptance"

    method: str
    draft_tokens: int
    text_class: str
    n_texts: int
    tokens_per_step: Interval
    """Tokens that a step writes to a text, with a 95 % interval over texts."""
    accepted_fraction: Interval
    """Accepted over proposed draft tokens, with a 95 % interval over texts."""
    by_position: tuple[float, ...]
    """Share of the steps in which the first, the first two, ... draft tokens are accepted."""
    proposing_fraction: float
    """Share of the steps in which anything was proposed."""
    repeated_fraction: float
    """Share of the answers' tokens that end a run of eight which the answer had before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime(Row):
    """Time of one part of a step."""

    part: ClassVar[str] = "time"

    batch: int
    what: str
    """"verify", or the method that drafts."""
    draft_tokens: int
    """Draft tokens that are verified or made; 0 is a plain step."""
    p50_s: Interval
    """Median over rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedUp(Row):
    """Output tokens per second with drafts over those without, at one batch size."""

    part: ClassVar[str] = "speed-up"

    method: str
    draft_tokens: int
    batch: int
    tokens_per_step: float
    """Of the texts that were timed."""
    predicted: float
    """From the tokens of a step and the times of its parts."""
    measured: Interval
    """Median over rounds."""
    n_texts: int
    n_equal: int
    """Texts whose answers are those of plain decoding, token by token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationSamples(Samples):
    """Raw samples of a run of speculation."""

    speedups: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Speed-up of each round, by method, draft tokens and batch."""
    tokens_per_step: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Tokens of a step of each text, by method, draft tokens and kind of text."""


ROWS = (Acceptance, StepTime, SpeedUp)
SAMPLES = SpeculationSamples
