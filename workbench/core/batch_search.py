"""Which batch to run: what to search, and the limits."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

QUANTILE = 0.9  # of the step times that must keep the latency limit
Work = Literal["decode", "prefill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSearchSpec(Spec):
    """The batch with the highest throughput at which a step keeps a time and a memory limit."""

    experiment: ClassVar[str] = "batch_search"

    model: str
    """Folder of a causal language model, or of a shape when ``random_weights``."""
    work: Work = "decode"
    """A step in which every sequence gets a token, or reading prompts of ``context_tokens``."""
    context_tokens: int = 128
    latency_ms: float | None = None
    """Of a step, at its 90th percentile; None: no limit."""
    memory_gib: float | None = None
    """Of the device, weights included; None: nine tenths of what is free."""
    largest: int = 512
    rounds: int = 7
    """Timed steps of each trial."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    random_weights: bool = False
    is_exhaustive: bool = False
    """Try every batch of the grid: for checking the search."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "context_tokens", "largest")
        if self.rounds < 3:
            raise InvalidSpec(f"rounds is {self.rounds}.", remedy="Give 3 or more.")
        for name in ("latency_ms", "memory_gib"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidSpec(f"{name} is {value}.", remedy="Give a number above zero, or none.")
        if self.work not in ("decode", "prefill"):
            raise InvalidSpec(f"work is {self.work!r}.", remedy="Choose decode or prefill.")
