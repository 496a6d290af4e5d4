"""What the floors hand to each other: clocks, progress and places to work in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_s(self) -> float:
        """Seconds on a clock that never goes back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a measurement is, in units of about equal time, with a partial result now and then."""

    step: str
    done: float
    total: float
    result: Mapping[str, Any] = field(default_factory=dict)
