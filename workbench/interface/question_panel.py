"""The frame that every question is shown in: controls made from its spec, and verdict, plots, table and tabs."""

import os
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.knobs import knobs_of
from workbench.core.language import gettext
from workbench.interface.export_mode import EXPORT_MODE
from workbench.interface.html import (
    LEGEND,
    block,
    code_block,
    folded,
    heading,
    joined,
    message_card,
    note,
    paragraph,
    subtitle,
)
from workbench.interface.job_panel import POLL_S
from workbench.interface.knobs import control, hold, set_control, stored
from workbench.interface.panel import (
    COMPUTING_AFTER_S,
    Plot,
    html,
    said_to_be_computed,
    set_html,
    show_all,
    shown_as_computing,
)
from workbench.interface.report.page import figure_div
from workbench.interface.shared_panel import SharedPanel
from workbench.interface.shared_state import (
    notebook_settings,
)
from workbench.interface.shared_view import (
    busy_note,
    download_links,
    origin,
    place_of,
)
from workbench.interface.toggles import Toggles
from workbench.interface.view import AnswerView
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager

UNEXPECTED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What a run from elsewhere may raise in code that reads it."""
FRAME_TABS = (gettext("Command line"), gettext("Spec as code"), gettext("Compare"), gettext("Save and share"))
FRAME_S = 0.03
"""In which a browser paints the answer, before it does nothing but draw plots."""


class QuestionPanel(SharedPanel):
    """The frame: controls made from knobs, the answer, plots, table and tabs, and the same for a report."""

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S, **start: Any) -> None:
        super().__init__(self.measured_kind(), manager=manager, poll_s=poll_s)
        self._turn = threading.RLock()  # a job's thread draws too, and a reader's choice must not be lost meanwhile
        self._drawing: int | None = None
        self._last_answer_s, self._n_redrawn = 0.0, 0
        self._changed: frozenset[str] = frozenset()
        self._redraws: dict[frozenset[str], bool] = {}  # whether the last change of these choices gave other plots
        self._links: dict[str, Markup] = {}
        self.runs = self.find_runs()
        self.fields = {n: f for n, f in knobs_of(self.spec_class).items() if n not in self.hidden}
        self.view_fields = knobs_of(self.state_class)
        asked = {n: f.start for n, f in self.fields.items()} | {k: v for k, v in start.items() if k in self.fields}
        shown = {k: v for k, v in start.items() if k not in self.fields}
        self.state: Any = self.first_state(self.state_class(asked=asked, run_id=self.first_run_id(), **shown))
        self._first = self.state
        self.controls: dict[str, widgets.Widget] = {}
        self.header, self.answer, self.table, self.beside = html(), html(), html(), html()
        self.plots, self.live = tuple(Plot() for _ in range(self.n_plots)), Plot(layout={"display": "none"})
        for plot in self.plots:
            plot.observe(self._count_redrawn, names="outputs")
        self.tabs_html = [html() for _ in (*self.tab_titles, *FRAME_TABS)]
        self._build()
        self.guarded(self.draw)()
        if settings := self._own(notebook_settings()):
            (self.open_with if os.environ.get(EXPORT_MODE) else self.guarded(self.open_with))(settings)
        if self.kind:
            self.attach_to_live_job()

    # --- state --------------------------------------------------------------------------------------------------

    def update(self, **changes: Any) -> None:
        """Take over choices and draw; nothing happens while controls are being set from the state.

        While another thread draws, the choice waits for it.
        """
        if self._drawing == threading.get_ident():
            return
        with self._turn:
            self.clear_message()
            asked = {k: v for k, v in changes.items() if k in self.fields}
            shown = {k: v for k, v in changes.items() if k not in self.fields}
            state = replace(self.state, asked={**self.state.asked, **asked}, **shown)
            self.state, self._changed = self.settled(state, changes), frozenset(changes)
            self.draw()

    def progressed(self, view: JobView) -> None:
        """Draw what the job measures while it goes on."""
        fig = self.live_figure(view)
        if fig is not None:
            self.live.layout.display = None
            self.live.show(fig)

    def finished(self, view: JobView) -> None:
        """Show the run that a job has stored."""
        self.live.layout.display = "none"
        self.runs = self.find_runs()
        self.update(run_id=view.id)

    # --- drawing ------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        rows: list[widgets.Widget] = []
        folded_rows: list[widgets.Widget] = []
        if self.kind and self.lists_runs:
            self.controls["run_id"] = widgets.Dropdown(
                description=gettext("Shown run"),
                tooltip=gettext("Stored run that the answer is drawn from."),
                options=self.run_options(),
                value=self._listed_run(),
                style={"description_width": "auto"},
                layout={"width": "auto"},
            )
            rows.append(self.controls["run_id"])
        below, offered = dict(self.beside_controls()), self.choices()
        for name in dict.fromkeys((*self.first, *self.view_fields, *self.fields)):
            knob_field = self._field(name)
            made = control(knob_field, self._value(name), offered.get(name))
            self.controls[name] = made
            (folded_rows if knob_field.knob.is_advanced else rows).append(made)
            if name in below:
                rows.append(below.pop(name))
        if folded_rows:
            rows.append(widgets.Accordion([widgets.VBox(folded_rows)], titles=(gettext("More settings"),)))
        rows += below.values()
        left = widgets.VBox([*rows, html(note(LEGEND))])
        left.add_class("wb-controls")
        self.plot_box = widgets.Box([self.live, *self.plots, self.beside])
        self.plot_box.add_class("wb-plots")
        share = self._share_box()
        *plain, beside, last = self.tabs_html
        compare = [self.compare] if self.kind and self.lists_runs else []
        contents = [*plain, widgets.VBox([*compare, beside]), widgets.VBox([last, share])]
        tabs = widgets.Tab(contents, titles=(*self.tab_titles, *FRAME_TABS))
        job = [self.job_bar.box] if self.kind else []
        right = widgets.VBox([*job, self.message, self.answer, self.plot_box, self.table, tabs])
        right.add_class("wb-view")
        body = widgets.Box([left, right])
        for name in ("wb-panel", self.css_class, "wb-tall" if self.is_tall else ""):
            if name:
                body.add_class(name)
        self.root.children = (*self.root.children, self.header, body)
        for name, made in self.controls.items():
            made.observe(self.guarded(self._chosen(name)), names="value")

    def _chosen(self, name: str) -> Callable[[Any], None]:
        def handler(change: Any) -> None:
            if self._drawing != threading.get_ident():
                value = change["new"]
                self.update(**{name: value if name == "run_id" else stored(self._field(name), value)})

        return handler

    def run_options(self) -> list[tuple[str, str | None]]:
        """Return the runs that can be shown, each with its label and its id."""
        options: list[tuple[str, str | None]] = [(self.run_label(r), r.id) for r in self.runs]
        return options if self.run else [(gettext("nothing measured yet"), None), *options]

    def _listed_run(self) -> str | None:
        listed = [value for _, value in self.run_options()]
        return self.state.run_id if self.state.run_id in listed else listed[0]

    def draw(self) -> None:
        """Draw everything from the state; nothing is read back from the widgets."""
        with self._turn:
            self._drawing = threading.get_ident()
            try:
                self._show(self.view)
            except UNEXPECTED as error:
                strange = self._strange(error)
                self._show(lambda: strange)
            finally:
                self._drawing = None

    def _show(self, make_view: Callable[[], AnswerView]) -> None:
        asked, self._changed, n_before = self._changed, frozenset(), self._n_redrawn
        with ExitStack() as marks:  # of a choice; what a job has measured since is shown without announcement
            redraws = asked and self._redraws.get(asked, True) and any(plot.outputs for plot in self.plots)
            if asked and self._last_answer_s > COMPUTING_AFTER_S:
                marks.enter_context(said_to_be_computed(self.answer))
            elif redraws:
                marks.enter_context(said_to_be_computed(self.plot_box))
            started = time.perf_counter()
            with shown_as_computing(self.answer):
                view = make_view()
                self.show_answer(view)
            self._last_answer_s = time.perf_counter() - started
            if redraws:
                time.sleep(FRAME_S)
            with shown_as_computing(self.plot_box):
                self.show_rest(view)
        self._redraws[asked] = self._n_redrawn > n_before
        self.show_controls()

    def _count_redrawn(self, _change: object) -> None:
        self._n_redrawn += 1

    def _strange(self, error: Exception) -> AnswerView:
        """The view of a run that holds what nobody expected: that it does, and which run it is."""
        if self.run is None:
            raise error
        self.errors.append(error)
        what = f"{type(error).__name__}: {error}"
        cause = gettext("Run {id} holds something that this panel does not understand ({what}).")
        remedy = gettext("Choose another run. If the workbench itself wrote this one, please report it.")
        title, cause = gettext("This run cannot be shown."), cause.format(id=self.run.id, what=what)
        card = message_card("failure", title, cause, remedy, traceback.format_exc())
        return AnswerView(about=gettext("run {id}").format(id=self.run.id), answer=card)

    def show_answer(self, view: AnswerView) -> None:
        """Show what the reader waits for: verdict, table and what stands beside the plots."""
        set_html(self.beside, view.beside)
        set_html(self.answer, joined(busy_note(view.run), view.answer))
        set_html(self.table, view.table)

    def show_rest(self, view: AnswerView) -> None:
        """Show plots, title and tabs."""
        for i, plot in enumerate(self.plots):  # before they are drawn, in the width that is then theirs
            plot.layout.display = None if i < len(view.figures) else "none"
        set_html(self.header, self._header(view))
        show_all(self.plots, view.figures)
        own = (view.tab(i) for i in range(len(self.tab_titles)))
        last = (self._comparison(), self._downloads(view))
        for box, content in zip(self.tabs_html, (*own, *self._plan_tabs(), *last), strict=True):
            set_html(box, content)
        self.link.state = str(self.shared_choices())

    def show_controls(self) -> None:
        """Set what controls offer and hold from the state."""
        choices = dict(self.choices())
        if "run_id" in self.controls:
            choices["run_id"] = self.run_options()
        for name, options in choices.items():
            made = self.controls[name]
            if not isinstance(made, Toggles) and list(made.options) != options:
                made.options = options
        self._offer_runs()
        reasons = self.unavailable()
        for name, made in self.controls.items():
            if isinstance(made, Toggles):
                note = gettext("cannot run here") if name in self.fields else gettext("not measured")
                made.mark_unavailable(reasons.get(name, {}), note=note)
            if name == "run_id":
                hold(made, self._listed_run())
            else:
                set_control(made, self._field(name), self._value(name))

    def _header(self, view: AnswerView) -> Markup:
        about = view.about
        if not about and view.run is not None:
            about = place_of(view.run)
        parts = {"mark": view.provenance.mark, "obtained": view.provenance.shown, "about": about}
        line = subtitle(gettext("{mark} {obtained} {about}").format(**parts)) if about else ""
        return joined(heading(self.title), line)

    def _plan_tabs(self) -> tuple[Markup, Markup]:
        try:
            plan = self.plan
        except InvalidSpec as error:
            card = message_card("caution", gettext("These choices do not go together."), error.cause, error.remedy)
            return card, card
        return code_block(self.command_lines(plan)), code_block(plan.as_code())

    def _downloads(self, view: AnswerView) -> Markup:
        if view.run is None:
            return paragraph(gettext("No run to save yet."))
        if view.run.id not in self._links:
            self._links[view.run.id] = download_links(view.run, self.csv_rows(view.run))
        return self._links[view.run.id]

    def no_answer(self, error: WorkbenchError) -> AnswerView:
        """Return the view of choices that have no answer."""
        return AnswerView(answer=message_card("failure", gettext("No answer."), error.cause, error.remedy))

    def nothing_measured(self) -> AnswerView:
        """Return the view of a panel without a run."""
        title, cause = gettext("Nothing was measured yet."), gettext("There is no stored run.")
        return AnswerView(answer=message_card("caution", title, cause, self.duration))

    # --- report -------------------------------------------------------------------------------------------------

    def static_html(self) -> Markup:
        """Return the panel for a report: what is shown, and how it was measured."""
        try:
            return self._static(self.view())
        except UNEXPECTED as error:
            return self._static(self._strange(error))
        except WorkbenchError as error:
            card = message_card("failure", gettext("Not possible."), error.cause, error.remedy)
            return block(heading(self.title), card)

    def _static(self, view: AnswerView) -> Markup:
        figures = joined(*(figure_div(make()) for make in view.figures))
        tabs = joined(*(joined(heading(title, level=3), view.tab(i)) for i, title in enumerate(self.tab_titles)))
        line, code = self._plan_tabs()
        tabs = joined(tabs, heading(FRAME_TABS[0], level=3), line, heading(FRAME_TABS[1], level=3), code)
        shown = block(
            self._header(view),
            busy_note(view.run),
            view.answer,
            block(figures, view.beside, kind="wb-figures"),
            view.table,
            note(LEGEND),
        )
        where = origin(view.run) if view.run else ""
        if self._compared():
            shown = joined(shown, block(heading(gettext("Compared runs"), level=3), self._comparison()))
        summary = gettext("Choices, launch command and measurement")
        more = block(folded(summary, self._choice_table(), tabs, where))
        return joined(shown, self.static_controls(view), more)
