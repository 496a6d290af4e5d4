"""What all panels share: one state, handlers that cannot fail silently, and a static twin for reports."""

import os
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.core.errors import WorkbenchError
from workbench.export.notebook import EXPORT_MODE
from workbench.figures.style import LIVE_STYLE, STYLE
from workbench.figures.tables import message_card
from workbench.figures.theme import mime_bundle


def html(content: str = "") -> widgets.HTML:
    """A block of our own HTML in the panels' look."""
    return widgets.HTML(f"<div class='wb'>{content}</div>")


def set_html(block: widgets.HTML, content: str) -> None:
    """Replace a block's content."""
    block.value = f"<div class='wb'>{content}</div>"


def labelled(kind: Callable[..., widgets.Widget], label: str, **options: Any) -> widgets.Widget:
    """A control with its label above it; the label belongs to the input, so that screen readers say it."""
    return kind(description=label, style={"description_width": "auto"}, layout={"width": "auto"}, **options)


class Plot(widgets.Output):  # type: ignore[misc]
    """A live plot: the mime bundle is assigned, so that a reload brings it back with its data."""

    def show(self, fig: go.Figure) -> None:
        """Draw a figure in place of the last one."""
        self.outputs = ({"output_type": "display_data", "data": mime_bundle(fig), "metadata": {}},)

    def clear(self) -> None:
        """Draw nothing: a figure of another choice must not stay."""
        self.outputs = tuple[Any, ...]()


def show_all(plots: Sequence[Plot], figures: Sequence[Callable[[], go.Figure]]) -> None:
    """Draw the figures in their plots and empty the plots that are left over."""
    for plot, make in zip(plots, figures, strict=False):
        plot.show(make())
    for plot in plots[len(figures) :]:
        plot.clear()


class Panel:
    """A panel with a live view of widgets and a static view for reports."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.message = html()
        self.root: widgets.Widget = widgets.VBox([html(f"<style>{STYLE}{LIVE_STYLE}</style>")])

    def guarded(self, handler: Callable[..., None]) -> Callable[..., None]:
        """A handler whose failure is shown as cause and remedy, and kept in ``errors`` when it is our own mistake."""

        def safe(*arguments: Any) -> None:
            try:
                handler(*arguments)
            except WorkbenchError as error:
                self.show_error(error)
            except Exception as error:
                self.errors.append(error)
                details = traceback.format_exc()
                set_html(
                    self.message,
                    message_card(
                        "failure",
                        "This is a defect of the workbench.",
                        f"{type(error).__name__}: {error}",
                        "Please report it.",
                        details,
                    ),
                )

        return safe

    def in_background(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        """Run work in a thread, guarded like a handler."""
        thread = threading.Thread(target=self.guarded(work), args=arguments, daemon=True)
        thread.start()
        return thread

    def show_error(self, error: WorkbenchError) -> None:
        """Cause and remedy in the panel."""
        set_html(self.message, message_card("failure", "Not possible.", error.cause, error.remedy))

    def clear_message(self) -> None:
        """Take the message away."""
        set_html(self.message, "")

    def static_html(self) -> str:
        """The panel for a report: no widgets, no kernel."""
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if os.environ.get(EXPORT_MODE):
            return {"text/html": self.static_html(), "text/plain": type(self).__name__}
        return self.root._repr_mimebundle_(include=include, exclude=exclude)


class StaticPanel(Panel):
    """A panel that only shows HTML."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.content = content
        self.root.children = (*self.root.children, html(content))

    def static_html(self) -> str:
        """The same content."""
        return f"<div class='wb'>{self.content}</div>"
