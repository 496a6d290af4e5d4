"""How a number was obtained."""

from enum import StrEnum

from workbench.core.language import gettext, gettext_noop


class Provenance(StrEnum):
    """The four ways in which a number is obtained, each with the mark that stands beside it."""

    MEASURED = gettext_noop("measured")
    ESTIMATED = gettext_noop("estimated")
    SIMULATED = gettext_noop("simulated")
    PUBLISHED = gettext_noop("published")

    @property
    def mark(self) -> str:
        """A sign that differs in shape, not only in colour."""
        return {"measured": "●", "estimated": "◌", "simulated": "△", "published": "▬"}[self.value]

    @property
    def shown(self) -> str:
        """Its word in the reader's language."""
        return gettext(self.value)
