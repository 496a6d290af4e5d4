"""How a number was obtained."""

from enum import StrEnum


class Provenance(StrEnum):
    """The four ways in which a number is obtained, each with the mark that stands beside it."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    SIMULATED = "simulated"
    PUBLISHED = "published"

    @property
    def mark(self) -> str:
        """A sign that differs in shape, not only in colour."""
        return {"measured": "●", "estimated": "◌", "simulated": "△", "published": "▬"}[self.value]
