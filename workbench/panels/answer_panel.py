"""A panel with controls at the left and, at the right, verdict, plots, table and what to do with them."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.core.runs import Run
from workbench.export.page import figure_div
from workbench.figures.tables import LEGEND
from workbench.jobs.manager import JobManager
from workbench.panels.base import Plot, html, set_html, show_all
from workbench.panels.job_panel import JobPanel
from workbench.panels.shared_view import download_links, origin


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """What is shown of a state."""

    header: str
    answer: str
    figures: tuple[Callable[[], go.Figure], ...]
    """Made one by one when shown, so that the first is on its way while the second is made."""
    beside: str = ""
    """HTML beside the plots."""
    table: str
    tabs: tuple[str | Callable[[], str], ...]
    """HTML, or what makes it: called after the answer is on its way."""
    run: Run | None

    def tab(self, index: int) -> str:
        """The HTML of a tab."""
        content = self.tabs[index]
        return content if isinstance(content, str) else content()


class AnswerPanel(JobPanel):
    """The frame that the state of a question is drawn into; the state is frozen and the only thing drawn from."""

    tab_titles: tuple[str, ...] = ()
    """Of the tabs that a view fills; downloads come last."""
    n_plots = 2
    can_run = True
    """Whether there is something to measure; a panel that only computes has no Run button."""
    state: Any

    def __init__(
        self, kind: str, *, css_class: str, manager: JobManager | None, poll_s: float, is_tall: bool = False
    ) -> None:
        super().__init__(kind, manager=manager, poll_s=poll_s)
        self._turn = threading.RLock()  # a job's thread draws too, and a reader's choice must not be lost meanwhile
        self._drawing: int | None = None
        self._links: dict[str, str] = {}
        self.controls: dict[str, widgets.Widget] = {}
        self.header, self.answer, self.table, self.beside = html(), html(), html(), html()
        self.plots = tuple(Plot() for _ in range(self.n_plots))
        self.tabs_html = [html() for _ in (*self.tab_titles, "downloads")]
        self.css_class, self._is_tall = css_class, is_tall

    def build(self, rows: Sequence[widgets.Widget]) -> None:
        """Lay the panel out; ``rows`` stand at the left above the Run button."""
        bar = [self.job_bar.box] if self.can_run else []
        left = widgets.VBox([*rows, *bar, html(f"<p class='wb-legend'>{LEGEND}</p>")])
        left.add_class("wb-controls")
        plots = widgets.Box([*self.plots, self.beside])
        plots.add_class("wb-plots")
        tabs = widgets.Tab(self.tabs_html, titles=(*self.tab_titles, "CSV · PNG · JSON"))
        right = widgets.VBox([self.message, self.answer, plots, self.table, tabs])
        right.add_class("wb-view")
        body = widgets.Box([left, right])
        body.add_class("wb-panel")
        body.add_class(self.css_class)
        if self._is_tall:  # plots of two parts
            body.add_class("wb-tall")
        self.root.children = (*self.root.children, self.header, body)
        for name, control in self.controls.items():
            control.observe(self.guarded(self._changed(name)), names="value")

    def _changed(self, name: str) -> Callable[[Any], None]:
        return lambda change: self.update(**{name: change["new"]})

    @property
    def _quiet(self) -> bool:
        """Whether this thread is setting controls from the state."""
        return self._drawing == threading.get_ident()

    @_quiet.setter
    def _quiet(self, is_quiet: bool) -> None:
        self._drawing = threading.get_ident() if is_quiet else None

    def update(self, **changes: Any) -> None:
        """Take over choices of the reader and draw; nothing happens while controls are being set from the state.

        While another thread draws, the choice waits for it.
        """
        if self._quiet:
            return
        with self._turn:
            self.clear_message()
            self.state = self.settled(replace(self.state, **changes), changes)
            self.draw()

    def settled(self, state: Any, changes: dict[str, Any]) -> Any:  # noqa: ARG002
        """The state after a change, with choices that no longer make sense replaced."""
        return state

    def view(self) -> AnswerView:
        """The answer to the state."""
        raise NotImplementedError

    def show_controls(self) -> None:
        """Set what controls offer and hold from the state."""
        for name, control in self.controls.items():
            value = getattr(self.state, name)
            if control.value != value:
                control.value = value

    def draw(self) -> None:
        """Draw everything from the state; nothing is read back from the widgets."""
        with self._turn:
            view = self.view()
            self._quiet = True
            try:
                self.show_answer(view)
                self.show_rest(view)
                self.show_controls()
            finally:
                self._quiet = False

    def show_answer(self, view: AnswerView) -> None:
        """What the reader waits for: verdict, table and what stands beside the plots."""
        set_html(self.beside, view.beside)
        set_html(self.answer, view.answer)
        set_html(self.table, view.table)

    def show_rest(self, view: AnswerView) -> None:
        """Plots, title and tabs."""
        show_all(self.plots, view.figures)
        set_html(self.header, view.header)
        for i in range(len(view.tabs)):
            set_html(self.tabs_html[i], view.tab(i))
        set_html(self.tabs_html[-1], self._downloads(view))
        for plot in self.plots[len(view.figures) :]:
            plot.layout.display = "none"
        for plot in self.plots[: len(view.figures)]:
            plot.layout.display = None

    def _downloads(self, view: AnswerView) -> str:
        if view.run is None:
            return "<p>Nothing to save yet.</p>"
        if view.run.id not in self._links:
            rows = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in view.run.results]
            self._links[view.run.id] = download_links(view.run, rows)
        return self._links[view.run.id]

    def static_html(self) -> str:
        """The panel for a report: what is shown, and how it came about."""
        view = self.view()
        figures = "".join(figure_div(make()) for make in view.figures)
        tabs = "".join(f"<h3>{title}</h3>{view.tab(i)}" for i, title in enumerate(self.tab_titles))
        return (
            f"<div class='wb'>{view.header}{view.answer}<div class='wb-figures'>{figures}{view.beside}</div>{view.table}"
            f"<p class='wb-legend'>{LEGEND}</p></div>{self.static_controls(view)}"
            f"<div class='wb'><details><summary>What to do with it, and how it came about</summary>{tabs}"
            f"{origin(view.run) if view.run else ''}</details></div>"
        )

    def static_controls(self, view: AnswerView) -> str:  # noqa: ARG002
        """Controls of a report that work without a kernel."""
        return ""
