"""How a number came about."""

from enum import StrEnum


class Provenance(StrEnum):
    """The four ways a number can come about, each with the mark that stands beside it."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    SIMULATED = "simulated"
    PUBLISHED = "published"

    @property
    def mark(self) -> str:
        """A sign that differs in shape, not only in colour."""
        return {"measured": "●", "estimated": "◌", "simulated": "△", "published": "▬"}[self.value]
