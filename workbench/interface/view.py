"""What a panel is drawn from, and what it shows: its state and its view, as values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.interface.html import EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelState:
    """Everything that a panel is drawn from. A question adds its choices of what to show, each with a knob."""

    asked: Mapping[str, Any] = field(default_factory=dict)
    """Values of the spec's fields; they may not go together while a reader is changing them."""
    run_id: str | None = None
    """Run that is shown."""
    compared_ids: tuple[str, ...] = ()
    """Runs that are set beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """What is shown of a state."""

    about: str = ""
    """Line below the title: what the numbers are of."""
    provenance: Provenance = Provenance.MEASURED
    answer: Markup
    figures: tuple[Callable[[], go.Figure], ...] = ()
    """Made one by one when shown, so that the first is on its way while the second is made."""
    beside: Markup = EMPTY
    """What stands beside the plots."""
    table: Markup = EMPTY
    tabs: tuple[Markup | Callable[[], Markup], ...] = ()
    """Contents of the question's own tabs, or what makes them: called after the answer is on its way."""
    run: Run | None = None

    def tab(self, index: int) -> Markup:
        """Return the content of a tab; empty where the view has none."""
        content = self.tabs[index] if index < len(self.tabs) else EMPTY
        return content if isinstance(content, str) else content()
