"""What to watch of a server, what was promised, and for how long."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

LONGEST_S = 7 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringSpec(Spec):
    """A watch over one server; the same wishes make the same rules."""

    experiment: ClassVar[str] = "monitoring"

    url: str
    """Base URL of a server with ``/metrics``."""
    duration_s: float = 600.0
    interval_s: float = 15.0
    """Between looks."""
    ttft: str = "0.5"
    """Promise on first tokens, a bound of vLLM's histogram, seconds."""
    objective: float = 0.99
    """Share of requests that must keep it."""
    patience_s: float = 120.0
    """How long a condition must last before it is told, where the rule waits at all."""
    prefix: str = "vllm:"
    gold_every_s: float = 0.0
    """Seconds between rounds of the gold set; 0 asks nothing."""
    gold: str | None = None
    """File of JSON lines with ``prompt`` and ``pattern``; none: the workbench's questions, whose first answers count as right."""

    def __post_init__(self) -> None:
        require_positive(self, "duration_s", "interval_s")
        if not self.url.startswith(("http://", "https://")):
            raise InvalidSpec(f"{self.url!r} is not a URL.", remedy="Give one like http://localhost:8000.")
        if self.duration_s > LONGEST_S:
            raise InvalidSpec(f"duration_s is {self.duration_s:g}.", remedy=f"Give at most {LONGEST_S:g}.")
        if self.gold_every_s < 0:
            raise InvalidSpec(f"gold_every_s is {self.gold_every_s:g}.", remedy="Give seconds, or 0 for none.")
        if self.patience_s < 0 or not 0 < self.objective < 1:
            raise InvalidSpec(
                f"A patience of {self.patience_s:g} s and an objective of {self.objective:g}.",
                remedy="Give 0 or more seconds, and a share below 1.",
            )
