"""What is timed on a device so that predictions fit it: single products, whole steps, and all-reduces between devices."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.rows import Row
from workbench.core.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductTime(Row):
    """Time of one product of a model's linear layers, in one format and for one number of tokens."""

    part: ClassVar[str] = "gemm"

    format: str
    """Number format, such as "w4a16"."""
    role: str
    """Place of the product in a layer, such as "qkv"."""
    rows: int
    columns: int
    kernel: str
    """Class of vLLM's kernel; "NoneType" where torch multiplies."""
    batch: int
    """Tokens that the product works on together."""
    p50_s: Interval
    n: int
    """Number of timings behind the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Least times that the device's published peaks allow in a cell, and how near to them it comes (1: as fast)."""

    step_floor_s: float
    step_fraction: float
    prefill_floor_s: float
    prefill_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCell(Row):
    """A precision at one batch size and one context length in vLLM."""

    served: str
    """Format or checkpoint folder, with "+fp8-kv" behind it for an FP8 KV cache."""
    label: str
    batch: int
    """Sequences that are decoded together."""
    context_tokens: int
    """Prompt tokens of each sequence."""
    kv_capacity_tokens: int | None = None
    """Tokens that vLLM's KV cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime(StepCell):
    """Times of a cell's prefill and of its decode steps."""

    part: ClassVar[str] = "serving_speed"

    tpot_p50_s: Interval
    tpot_p99_s: float
    n_steps: int
    """Number of timed decode steps."""
    prefill_s: float
    """Time until every sequence of the batch has its first token."""
    prefill_tokens_per_s: float
    roofline: Roofline | None = None
    """Added when the run is shown; None where the catalogue lacks the device's peaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTooLarge(StepCell):
    """A cell that was not timed because the KV cache does not hold its sequences."""

    part: ClassVar[str] = "does_not_fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllReduceTime(Row):
    """Time of an all-reduce of one size between devices."""

    part: ClassVar[str] = "all_reduce"

    world: int
    """Number of devices that take part."""
    n_bytes: int
    p50_s: Interval
    n: int
    """Number of timings behind the median."""
