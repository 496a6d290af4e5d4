"""What a running measurement hands up: its progress."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCRATCH = "scratch"  # folder of a measurement that may be deleted whenever the measurement does not run


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a measurement is, in units of about equal time, with a partial result now and then."""

    step: str
    done: float
    total: float
    result: Mapping[str, Any] = field(default_factory=dict)
