"""What measurements of attention and of whole models leave behind; read without PyTorch."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.catalog.attention_techniques import TECHNIQUES
from workbench.core.language import gettext
from workbench.core.rows import Row
from workbench.core.statistics import Interval

Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, ...] = ("prefill", "decode")
MissingStatus = Literal["out of memory", "not available", "left out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings(Row):
    """What the device reaches in the same process."""

    part: ClassVar[str] = "ceilings"
    copy_bytes_per_s: float
    """Memory bandwidth of a copy, the bound of decode."""
    matmul_flop_per_s: float
    """Rate of a large matrix product, the bound of prefill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPlace:
    """What was timed: a technique in a phase at a context length."""

    technique: str
    phase: Phase
    length_tokens: int

    @property
    def label(self) -> str:
        """Name of the technique as readers know it."""
        return gettext(TECHNIQUES[self.technique].label)

    def is_at(self, phase: str, length_tokens: int) -> bool:
        """Return whether the cell is of this phase and context length."""
        return (self.phase, self.length_tokens) == (phase, length_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(CellPlace, Row):
    """The attention of one layer, timed with one technique in one phase at one context length."""

    part: ClassVar[str] = "cell"
    p50_s: Interval
    """Median time of one call, with its 95 % interval."""
    n: int
    """Number of timed calls."""
    max_error: float | None
    """Largest absolute error against float64 under the same pattern; None where the content decides the pattern."""
    distance_from_full: float
    """Relative root mean square distance from full attention."""
    io_bytes: int
    """Queries, keys, values and output."""
    peak_bytes: int | None
    """Peak memory of one call, its inputs included; None on a CPU."""
    energy_j: float | None
    """Energy of one call; None without a meter."""
    flop_per_s: float | None = None
    """None where the content decides how much is computed."""
    read_bytes_per_s: float | None = None
    """Rate at which decode reads keys and values."""
    ceiling_fraction: float | None = None
    """Share of the device's ceiling: of the matrix rate in prefill, of the copy bandwidth in decode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingCell(CellPlace, Row):
    """A cell without a time, and why."""

    part: ClassVar[str] = "missing cell"
    status: MissingStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSeconds(CellPlace):
    """Time of each call of a cell."""

    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedCell:
    """A measured cell with the time of each of its calls."""

    cell: Cell
    calls: CellSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefill(Row):
    """A prompt read in chunks and continued by PyTorch."""

    part: ClassVar[str] = "prefill"
    length_tokens: int
    """Number of tokens of the prompt."""
    chunk_tokens: int
    """Tokens of the prompt that are read together."""
    ttft_s: float
    """Time to first token: all chunks one after the other."""
    first_chunk_s: float
    last_chunk_s: float
    step_s: tuple[float, ...]
    """Time of each decode step."""
    step_p50_s: float
    """Median time of a decode step, without the first two, which warm up."""
    kv_held_bytes: int
    """Bytes that the KV cache held in the end."""
    kv_held_tokens: int
    kv_predicted_bytes: float | None = None
    """Size of the same cache by formula."""
    peak_bytes: int | None
    """Peak memory, weights included; None on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedCache(Row):
    """A KV cache of transformers on one prompt."""

    part: ClassVar[str] = "cache"
    cache: str
    length_tokens: int
    window_tokens: int | None = None
    """Window of a sliding cache; None for the others."""
    kv_held_bytes: int
    """Bytes of its tensors, wherever they lie."""
    device_bytes: int
    """Growth of the memory in use on the device."""
    prefill_s: float
    step_p50_s: float | None
    """Median time of a decode step; None where only one was made."""
    max_logit_difference: float
    """Largest difference of the logits from those of a growing cache under the same attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMeasured(Row):
    """A prompt or a cache without numbers, and why."""

    part: ClassVar[str] = "not measured"
    what: Literal["prefill", "cache", "served"]
    """Part that its row would be."""
    label: str | None = None
    """Name of the cache, or of the vLLM variant."""
    length_tokens: int
    chunk_tokens: int | None = None
    status: MissingStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One try of the search for the longest context."""

    tokens: int
    fits: bool


def median_step_s(steps_s: Sequence[float]) -> float:
    """Return the median of decode steps without the first two, which warm up."""
    return float(statistics.median(steps_s[2:] or steps_s))
