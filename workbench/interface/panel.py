"""What all panels share: one state, handlers that cannot fail silently, and a static twin for reports."""

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import ipywidgets as widgets
import plotly.graph_objects as go
from markupsafe import Markup

from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.interface.export_mode import EXPORT_MODE
from workbench.interface.html import Text, block, message_card
from workbench.interface.style import STYLE_ELEMENT
from workbench.interface.theme import mime_bundle

COMPUTING_AFTER_S = 0.06
"""An answer that takes longer is marked as being computed; one that is there at once does not flicker."""
COMPUTING, DIMMED = "wb-computing", "wb-dimmed"


def html(content: Text = "") -> widgets.HTML:
    """Return a block of text, or of HTML made by ``interface.html``, in the panels' look."""
    return widgets.HTML(block(content))


def set_html(box: widgets.HTML, content: Text) -> None:
    """Replace the content of a block."""
    box.value = block(content)


@contextmanager
def said_to_be_computed(box: widgets.DOMWidget) -> Iterator[None]:
    """Say at a box from the start that its new content is computed: words are drawn in no time, dimmed plots are not."""
    box.add_class(COMPUTING)
    try:
        yield
    finally:
        box.remove_class(COMPUTING)


@contextmanager
def shown_as_computing(box: widgets.DOMWidget) -> Iterator[None]:
    """Mark a box, and dim it and what stands below it, while its new content takes long."""
    turn, is_over = threading.Lock(), threading.Event()

    def mark() -> None:
        with turn:
            if not is_over.is_set():
                box.add_class(COMPUTING).add_class(DIMMED)

    timer = threading.Timer(COMPUTING_AFTER_S, mark)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with turn:
            is_over.set()
            box.remove_class(DIMMED).remove_class(COMPUTING)


class Plot(widgets.Output):  # type: ignore[misc]
    """A live plot: the mime bundle is assigned, so that a reload brings it back with its data."""

    def show(self, fig: go.Figure) -> None:
        """Draw a figure in place of the last one."""
        drawn: tuple[Mapping[str, object], ...] = (
            {"output_type": "display_data", "data": mime_bundle(fig), "metadata": {}},
        )
        self.outputs = drawn

    def clear(self) -> None:
        """Draw nothing: a figure of another choice must not stay."""
        self.outputs = ()


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
        self.root: widgets.Widget = widgets.VBox([widgets.HTML(STYLE_ELEMENT)])
        self.root.add_class("wb-root")

    def guarded(self, handler: Callable[..., None]) -> Callable[..., None]:
        """A handler whose failure is shown as cause and remedy, and kept in ``errors`` when it is our own mistake."""

        def safe(*arguments: object) -> None:
            try:
                handler(*arguments)
            except WorkbenchError as error:
                self.show_error(error)
            except Exception as error:
                self.errors.append(error)
                title, cause = gettext("This is a defect of the workbench."), f"{type(error).__name__}: {error}"
                card = message_card("failure", title, cause, gettext("Please report it."), traceback.format_exc())
                set_html(self.message, card)

        return safe

    def in_background(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        """Run work in a thread, guarded like a handler."""
        thread = threading.Thread(target=self.guarded(work), args=arguments, daemon=True)
        thread.start()
        return thread

    def show_error(self, error: WorkbenchError) -> None:
        """Cause and remedy in the panel."""
        set_html(self.message, message_card("failure", gettext("Not possible."), error.cause, error.remedy))

    def clear_message(self) -> None:
        """Take the message away, if one is shown."""
        set_html(self.message, "")

    def static_html(self) -> Markup:
        """Return the panel for a report: no widgets, no kernel."""
        raise NotImplementedError

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> object:
        if os.environ.get(EXPORT_MODE):
            return {"text/html": self.static_html(), "text/plain": type(self).__name__}
        return self.root._repr_mimebundle_(include=include, exclude=exclude)


class StaticPanel(Panel):
    """A panel that only shows HTML."""

    def __init__(self, content: Markup) -> None:
        super().__init__()
        self.content = content
        self.root.children = (*self.root.children, html(content))

    def static_html(self) -> Markup:
        """Return the same content for a report."""
        return block(self.content)
