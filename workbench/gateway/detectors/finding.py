"""What a detector finds in a text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A place in a text that is replaced."""

    kind: str
    start: int
    end: int
