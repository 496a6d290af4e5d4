"""What a run of long contexts holds: prefill and decode in PyTorch, caches, vLLM, and the longest context."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

from workbench.attention.rows import ComparedCache, NotMeasured, Prefill, Probe
from workbench.catalog.model_spec import ModelSpec
from workbench.core.language import gettext
from workbench.core.rows import Row
from workbench.core.runs import Run
from workbench.core.stored_texts import in_readers_words
from workbench.questions.long_context.spec import FP8_CACHE, WIDE_CACHE


@dataclass(frozen=True, slots=True, kw_only=True)
class Served(Row):
    """A prompt answered by vLLM, alone."""

    part: ClassVar[str] = "served"
    variant: str
    """Settings of vLLM as the spec names them."""
    label: str
    length_tokens: int
    """Number of tokens of the prompt."""
    ttft_s: float
    """Time to first token with an empty prefix cache."""
    ttft_prefix_s: float
    """Time to first token of the same prompt once more, its prefix cached."""
    step_s: tuple[float, ...]
    """Time of each decode step."""
    step_p50_s: float
    """Median time of a decode step, without the first two, which warm up."""
    kv_capacity_tokens: int | None
    """Tokens that vLLM's KV cache holds."""
    kv_allocated_bytes: int | None
    kv_predicted_bytes: float | None
    """Size of the same cache by formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit(Row):
    """The longest context that fits: predicted before the model was loaded, and searched on a GPU."""

    part: ClassVar[str] = "limit"
    free_bytes: float
    """Free memory before the model was loaded."""
    weight_bytes: float
    workspace_bytes: float
    """Activations of one prefill chunk."""
    predicted_tokens: int
    model_limit_tokens: int | None
    """Context that the model was made for."""
    found_tokens: int | None = None
    """Longest context that fitted; None where none was searched."""
    probes: tuple[Probe, ...] = ()
    reason: str | None = None
    """Reason why no context was searched."""


ROWS = (Prefill, ComparedCache, Limit, Served, NotMeasured)
Timed: TypeAlias = Served | Prefill
Series: TypeAlias = dict[str, Sequence[Timed]]


def timed_series(run: Run) -> Series:
    """Return the rows of prefill and decode by how the model was run, shortest context first."""
    series: dict[str, list[Timed]] = {}
    for served in run.rows(Served):
        series.setdefault(in_readers_words(served.label, (WIDE_CACHE, FP8_CACHE)), []).append(served)
    for row in run.rows(Prefill):
        series.setdefault(gettext("PyTorch, chunks of {n}").format(n=row.chunk_tokens), []).append(row)
    return {name: sorted(rows, key=lambda r: r.length_tokens) for name, rows in series.items()}


def peak_bytes_by_length(run: Run | None, model: ModelSpec) -> dict[int, float]:
    """Return the memory that PyTorch took, weights included, by context; none where the run is of another model."""
    if run is None or Path(run.model or "").name != model.name:
        return {}
    return {r.length_tokens: float(r.peak_bytes) for r in run.rows(Prefill) if r.peak_bytes}
