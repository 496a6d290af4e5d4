"""The frame that every question is shown in: controls made from its spec, and verdict, plots, table and tabs."""

import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets
import plotly.graph_objects as go
from markupsafe import Markup

from workbench.catalog.paths import MEASURED
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.knobs import KnobField, knobs_of
from workbench.core.rows import Json, flat
from workbench.core.runs import Run
from workbench.interface.compared_runs import side_by_side
from workbench.interface.export_mode import EXPORT_MODE
from workbench.interface.html import (
    EMPTY,
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
    table,
)
from workbench.interface.job_panel import POLL_S, JobPanel
from workbench.interface.knobs import command_line, control, hold, set_control, stored
from workbench.interface.panel import Plot, html, set_html, show_all
from workbench.interface.report.page import figure_div, page
from workbench.interface.shared_state import (
    COMPARED,
    RUN,
    PanelChoices,
    choice_of,
    choice_text,
    notebook_settings,
    view_file,
)
from workbench.interface.shared_view import (
    busy_note,
    download_links,
    origin,
    place_of,
    run_label,
    runs_of_kind,
    shipped_ids,
)
from workbench.interface.toggles import Toggles
from workbench.interface.view import AnswerView, PanelState
from workbench.interface.view_link import ViewLink
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.store.runs import RunStore

UNEXPECTED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What a run from elsewhere may raise in code that reads it."""
FRAME_TABS = ("Command line", "Spec as code", "Compare", "Save and share")


class QuestionPanel(JobPanel):
    """A panel that is declared by its class attributes and by ``view``."""

    title: ClassVar[str]
    """The question, as a heading."""
    spec_class: ClassVar[type[Any]]
    """Dataclass whose knobs are the controls; where it has a ``kind``, Run measures it."""
    measured_class: ClassVar[type[Any] | None] = None
    """Class of ``measured_spec``, where Run measures another spec than the one that is asked for."""
    state_class: ClassVar[type[PanelState]] = PanelState
    hidden: ClassVar[frozenset[str]] = frozenset()
    """Knobs of the spec that this panel does not offer."""
    first: ClassVar[tuple[str, ...]] = ()
    """Knobs that stand first, in this order; those of what is shown follow, then those of the spec."""
    lists_runs: ClassVar[bool] = True
    """Whether the answer is drawn from a stored run, which the reader chooses."""
    css_class: ClassVar[str] = ""
    is_tall: ClassVar[bool] = False
    """Whether the plots have two parts."""
    n_plots: ClassVar[int] = 2
    tab_titles: ClassVar[tuple[str, ...]] = ()
    """Titles of the question's own tabs; command line, code and downloads follow."""
    duration: ClassVar[str] = "Press Run."
    """What to do, and how long it takes, when nothing was measured yet."""

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S, **start: Any) -> None:
        super().__init__(self.measured_kind(), manager=manager, poll_s=poll_s)
        self._turn = threading.RLock()  # a job's thread draws too, and a reader's choice must not be lost meanwhile
        self._drawing: int | None = None
        self._links: dict[str, Markup] = {}
        self.runs = self.find_runs()
        self.fields = {n: f for n, f in knobs_of(self.spec_class).items() if n not in self.hidden}
        self.view_fields = knobs_of(self.state_class)
        asked = {n: f.start for n, f in self.fields.items()} | {k: v for k, v in start.items() if k in self.fields}
        shown = {k: v for k, v in start.items() if k not in self.fields}
        self.state: Any = self.first_state(self.state_class(asked=asked, run_id=self.first_run_id(), **shown))
        self._opened_with, self._first = self.state.asked, self.state
        self.controls: dict[str, widgets.Widget] = {}
        self.header, self.answer, self.table, self.beside = html(), html(), html(), html()
        self.plots, self.live = tuple(Plot() for _ in range(self.n_plots)), Plot(layout={"display": "none"})
        self.tabs_html = [html() for _ in (*self.tab_titles, *FRAME_TABS)]
        self._build()
        self.guarded(self.draw)()
        if settings := self._own(notebook_settings()):
            (self.open_with if os.environ.get(EXPORT_MODE) else self.guarded(self.open_with))(settings)
        if self.kind:
            self.attach_to_live_job()

    # --- what a question may say of itself ----------------------------------------------------------------------

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        raise NotImplementedError

    def first_state(self, state: Any) -> Any:
        """Return the state that the panel opens with."""
        return state

    def settled(self, state: Any, changes: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """Return the state after a change, with choices that no longer make sense replaced."""
        return state

    def find_runs(self) -> list[Run]:
        """Return the runs that can be shown, newest first: own ones and those that ship."""
        return self.stored_runs(self.manager.store)

    @classmethod
    def stored_runs(cls, store: RunStore) -> list[Run]:
        """Return the runs of this panel's kind, newest first: those of a store and those that ship."""
        kind = cls.measured_kind()
        return runs_of_kind(kind, store=store, shipped=MEASURED) if kind else []

    @classmethod
    def measured_kind(cls) -> str:
        """Return the kind of the runs that Run makes; "" where it makes none."""
        return getattr(cls.measured_class or cls.spec_class, "kind", "")

    def first_run_id(self) -> str | None:
        """Return the run that is shown at first."""
        return self.runs[0].id if self.runs else None

    def run_label(self, run: Run) -> str:
        """Return what a run is called in the list."""
        return run_label(run)

    def command_lines(self, plan: Any) -> str:
        """Return the commands that ask for a spec."""
        return command_line(plan.command, plan)

    def choices(self) -> Mapping[str, list[Any]]:
        """Return what controls offer where the knob does not say it: label and value, or suggested texts, by control."""
        return {}

    def unavailable(self) -> Mapping[str, Mapping[str, str]]:
        """Return the choices that cannot be measured here, with the reason, by control."""
        return {}

    def compared(self, runs: Sequence[Run]) -> Markup:
        """Return runs side by side, the shown one first."""
        return side_by_side(runs, [f"{run.environment.device}, {run.day}, {run.id[:8]}" for run in runs])

    def csv_rows(self, run: Run) -> list[dict[str, Json]]:
        """Return the rows of a run's CSV file."""
        return [flat(row) for row in run.results]

    def live_figure(self, view: JobView) -> go.Figure | None:  # noqa: ARG002
        """Return what a running job has measured since, as a figure; None where nothing is new."""
        return None

    def beside_controls(self) -> Mapping[str, widgets.Widget]:
        """Return further widgets, by the control that each stands below; "" is the end."""
        return {}

    def static_controls(self, view: AnswerView) -> Markup:  # noqa: ARG002
        """Return controls of a report that work without a kernel."""
        return EMPTY

    # --- state --------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> Any:
        """The spec that the choices ask for; raises ``InvalidSpec`` when they do not go together."""
        return self.spec_class(**self.state.asked)

    @property
    def run(self) -> Run | None:
        """The run that is shown."""
        return self.run_of(self.state)

    def run_of(self, state: Any) -> Run | None:
        """Return the run that a state shows."""
        return next((r for r in self.runs if r.id == state.run_id), None)

    def changed_since(self, run: Run) -> list[str]:
        """Return the labels of the knobs whose values are not those of a run."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in self.state.asked.items()}
        return [self.fields[n].label for n, v in plain.items() if n in run.spec and run.spec[n] != v]

    def is_stale(self, run: Run) -> bool:
        """Return whether the reader has asked for something else than what a run has measured."""
        return self.state.asked != self._opened_with and bool(self.changed_since(run))

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
            self.state = self.settled(state, changes)
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

    # --- sharing ------------------------------------------------------------------------------------------------

    @classmethod
    def name(cls) -> str:
        """Return what a link calls the panel, such as "cost" or "quantization/sensitivity"."""
        return cls.__module__.removeprefix("workbench.questions.").removesuffix(".panel").replace(".", "/")

    def shared_choices(self) -> PanelChoices:
        """Return all choices as a link carries them."""
        names = (*self.view_fields, *self.fields)
        values = {name: choice_text(self._field(name), self._value(name)) for name in names}
        runs = ({RUN: self.run.id} if self.run else {}) | (
            {COMPARED: ",".join(ids)} if (ids := self.state.compared_ids) else {}
        )
        return PanelChoices(panel=self.name(), values=values | runs)

    def open_link(self, text: str) -> None:
        """Show what the text of a link carries, where it is about this panel; raises ``InvalidSpec``."""
        choices = PanelChoices.read(text)
        if choices.panel == self.name():
            self.open_with(choices.values)

    def open_with(self, values: Mapping[str, object]) -> None:
        """Show choices by name, given as texts, numbers or lists; the others stay. Raises ``InvalidSpec``."""
        unknown = sorted(set(values) - {RUN, COMPARED, *self.view_fields, *self.fields})
        if unknown:
            raise InvalidSpec(
                f"The panel {self.name()} has no control {', '.join(unknown)}.",
                remedy=f"Use {', '.join((*self.view_fields, *self.fields))}.",
            )
        run_id = values.get(RUN, self.state.run_id)
        others = tuple(part for part in str(values.get(COMPARED, "")).split(",") if part)
        missing = {i for i in (run_id, *others) if i is not None} - {r.id for r in self.runs}
        if missing:
            raise InvalidSpec(
                f"Run {', '.join(sorted(map(str, missing)))} is not stored here.",
                remedy="Ask for the file of the view, which carries its run, and open it with `workbench show FILE`.",
            )
        offered = self.choices()
        chosen = {
            n: choice_of(self._field(n), v, self._offered(n, offered))
            for n, v in values.items()
            if n not in (RUN, COMPARED)
        }
        with self._turn:
            self.clear_message()
            asked = {k: v for k, v in chosen.items() if k in self.fields}
            shown = {k: v for k, v in chosen.items() if k not in self.fields}
            runs = {RUN: run_id, COMPARED: others}
            self.state = replace(self.state, asked={**self.state.asked, **asked}, **runs, **shown)
            self.draw()

    def _own(self, settings: Mapping[str, object]) -> dict[str, object]:
        """Those of a notebook's settings that this panel has; the others are for the notebook's other panels."""
        known = {*self.view_fields, *self.fields}
        wanted = settings.get("runs", ())
        run_id = next((r.id for r in self.runs if isinstance(wanted, list | tuple) and r.id in wanted), None)
        return {k: v for k, v in settings.items() if k in known} | ({} if run_id is None else {RUN: run_id})

    def _offered(self, name: str, choices: Mapping[str, list[Any]]) -> list[object] | None:
        """The values that a control offers; None where it takes anything."""
        own, knob = choices.get(name), self._field(name).knob
        if own and isinstance(own[0], tuple):
            return [value for _, value in own]
        return None if knob.choices is None or knob.suggestions else list(knob.choices)

    def _reset(self, _button: object) -> None:
        with self._turn:
            self.clear_message()
            self.state = self._first
            self.draw()

    # --- drawing ------------------------------------------------------------------------------------------------

    def _field(self, name: str) -> KnobField:
        return self.fields.get(name) or self.view_fields[name]

    def _value(self, name: str) -> Any:
        return self.state.asked[name] if name in self.fields else getattr(self.state, name)

    def _build(self) -> None:
        rows: list[widgets.Widget] = []
        folded_rows: list[widgets.Widget] = []
        if self.kind and self.lists_runs:
            self.controls["run_id"] = widgets.Dropdown(
                description="Shown run",
                tooltip="Stored run that the answer is drawn from.",
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
            rows.append(widgets.Accordion([widgets.VBox(folded_rows)], titles=("More settings",)))
        rows += below.values()
        left = widgets.VBox([*rows, html(note(LEGEND))])
        left.add_class("wb-controls")
        plots = widgets.Box([self.live, *self.plots, self.beside])
        plots.add_class("wb-plots")
        self.save = self._button("Save HTML report", "Write one HTML file that needs no network.", self._save_report)
        self.save_view = self._button("Save view", "Write a small file that opens with these choices.", self._save_view)
        self.reset = self._button("Reset", "Take back all choices since the panel was opened.", self._reset)
        self.compare = widgets.SelectMultiple(
            description="Runs", tooltip="Runs that are set beside the shown one.", layout={"width": "auto"}
        )
        self.compare.observe(self.guarded(lambda change: self.update(compared_ids=tuple(change["new"]))), names="value")
        self.link = ViewLink()
        self.link.observe(self.guarded(lambda change: self.open_link(change["new"])), names="opened")
        share = widgets.HBox([self.save, self.save_view, self.link, self.reset])
        share.add_class("wb-share")
        *plain, beside, last = self.tabs_html
        compare = [self.compare] if self.kind and self.lists_runs else []
        contents = [*plain, widgets.VBox([*compare, beside]), widgets.VBox([last, share])]
        tabs = widgets.Tab(contents, titles=(*self.tab_titles, *FRAME_TABS))
        job = [self.job_bar.box] if self.kind else []
        right = widgets.VBox([*job, self.message, self.answer, plots, self.table, tabs])
        right.add_class("wb-view")
        body = widgets.Box([left, right])
        for name in ("wb-panel", self.css_class, "wb-tall" if self.is_tall else ""):
            if name:
                body.add_class(name)
        self.root.children = (*self.root.children, self.header, body)
        for name, made in self.controls.items():
            made.observe(self.guarded(self._chosen(name)), names="value")

    def _button(self, label: str, tooltip: str, handler: Callable[[object], None]) -> widgets.Button:
        made = widgets.Button(description=label, tooltip=tooltip, layout={"width": "auto"})
        made.on_click(self.guarded(handler))
        return made

    def _chosen(self, name: str) -> Callable[[Any], None]:
        def handler(change: Any) -> None:
            if self._drawing != threading.get_ident():
                value = change["new"]
                self.update(**{name: value if name == "run_id" else stored(self._field(name), value)})

        return handler

    def run_options(self) -> list[tuple[str, str | None]]:
        """Return the runs that can be shown, each with its label and its id."""
        options: list[tuple[str, str | None]] = [(self.run_label(r), r.id) for r in self.runs]
        return options if self.run else [("nothing measured yet", None), *options]

    def _listed_run(self) -> str | None:
        listed = [value for _, value in self.run_options()]
        return self.state.run_id if self.state.run_id in listed else listed[0]

    def draw(self) -> None:
        """Draw everything from the state; nothing is read back from the widgets."""
        with self._turn:
            self._drawing = threading.get_ident()
            try:
                self._show(self.view())
            except UNEXPECTED as error:
                self._show(self._strange(error))
            finally:
                self._drawing = None

    def _show(self, view: AnswerView) -> None:
        self.show_answer(view)
        self.show_rest(view)
        self.show_controls()

    def _strange(self, error: Exception) -> AnswerView:
        """The view of a run that holds what nobody expected: that it does, and which run it is."""
        if self.run is None:
            raise error
        self.errors.append(error)
        what = f"{type(error).__name__}: {error}"
        cause = f"Run {self.run.id} holds something that this panel does not understand ({what})."
        remedy = "Choose another run. If the workbench itself wrote this one, please report it."
        card = message_card("failure", "This run cannot be shown.", cause, remedy, traceback.format_exc())
        return AnswerView(about=f"run {self.run.id}", answer=card)

    def show_answer(self, view: AnswerView) -> None:
        """Show what the reader waits for: verdict, table and what stands beside the plots."""
        set_html(self.beside, view.beside)
        set_html(self.answer, joined(busy_note(view.run), view.answer))
        set_html(self.table, view.table)

    def show_rest(self, view: AnswerView) -> None:
        """Show plots, title and tabs."""
        for i, plot in enumerate(self.plots):  # before they are drawn, in the width that is then theirs
            plot.layout.display = None if i < len(view.figures) else "none"
        show_all(self.plots, view.figures)
        set_html(self.header, self._header(view))
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
        options = [(self.run_label(r), r.id) for r in self.runs if r.id != self.state.run_id]
        if list(self.compare.options) != options:
            self.compare.options = options
        hold(self.compare, tuple(r.id for r in self._compared()))
        reasons = self.unavailable()
        for name, made in self.controls.items():
            if isinstance(made, Toggles):
                note = "cannot run here" if name in self.fields else "not measured"
                made.mark_unavailable(reasons.get(name, {}), note=note)
            if name == "run_id":
                hold(made, self._listed_run())
            else:
                set_control(made, self._field(name), self._value(name))

    def _header(self, view: AnswerView) -> Markup:
        about = view.about
        if not about and view.run is not None:
            about = place_of(view.run)
        line = subtitle(f"{view.provenance.mark} {view.provenance} {about}") if about else ""
        return joined(heading(self.title), line)

    def _plan_tabs(self) -> tuple[Markup, Markup]:
        try:
            plan = self.plan
        except InvalidSpec as error:
            card = message_card("caution", "These choices do not go together.", error.cause, error.remedy)
            return card, card
        return code_block(self.command_lines(plan)), code_block(plan.as_code())

    def _compared(self) -> list[Run]:
        return [r for r in self.runs if r.id in self.state.compared_ids and r.id != self.state.run_id]

    def _comparison(self) -> Markup:
        others = self._compared()
        if self.run is None or not others:
            return paragraph("Choose runs of the list to set them beside the shown one (Ctrl or Shift for several).")
        return self.compared([self.run, *others])

    def _downloads(self, view: AnswerView) -> Markup:
        if view.run is None:
            return paragraph("No run to save yet.")
        if view.run.id not in self._links:
            self._links[view.run.id] = download_links(view.run, self.csv_rows(view.run))
        return self._links[view.run.id]

    def no_answer(self, error: WorkbenchError) -> AnswerView:
        """Return the view of choices that have no answer."""
        return AnswerView(answer=message_card("failure", "No answer.", error.cause, error.remedy))

    def nothing_measured(self) -> AnswerView:
        """Return the view of a panel without a run."""
        title, cause = "Nothing was measured yet.", "There is no stored run."
        return AnswerView(answer=message_card("caution", title, cause, self.duration))

    # --- report -------------------------------------------------------------------------------------------------

    def _choice_table(self) -> Markup:
        names = (*self.view_fields, *self.fields)
        rows = [(self._field(n).label, choice_text(self._field(n), self._value(n)) or "–") for n in names]
        return joined(heading("Choices", level=3), table(("Choice", "Value"), rows, left=(1,)))

    def _save_report(self, _button: object) -> None:
        kind = self.kind or type(self).__name__.removesuffix("Panel").lower()
        content = page(self.title, self.static_html(), footer=Markup("Saved from the panel."))
        self._save(f"{kind}_{self.state.run_id or 'latest'}.html", content, "One file, no network needed.")

    def _save_view(self, _button: object) -> None:
        own = self.run if self.run is not None and self.run.id not in shipped_ids(MEASURED) else None
        name = f"{self.name().replace('/', '_')}_view.json"
        remedy = f"`workbench show {name}` opens it with the same choices, also on another machine."
        self._save(name, view_file(self.shared_choices(), own), remedy)

    def _save(self, name: str, content: str, remedy: str) -> None:
        target = Path.cwd() / name
        try:
            target.write_text(content, encoding="utf-8")
        except OSError as error:
            remedy = "Free disk space or open the notebook from a writable folder."
            raise WorkbenchError(f"{target} cannot be written: {error}.", remedy=remedy) from error
        set_html(self.message, message_card("info", "Saved.", str(target), remedy))

    def static_html(self) -> Markup:
        """Return the panel for a report: what is shown, and how it was measured."""
        try:
            return self._static(self.view())
        except UNEXPECTED as error:
            return self._static(self._strange(error))
        except WorkbenchError as error:
            return block(heading(self.title), message_card("failure", "Not possible.", error.cause, error.remedy))

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
            shown = joined(shown, block(heading("Compared runs", level=3), self._comparison()))
        more = block(folded("Choices, launch command and measurement", self._choice_table(), tabs, where))
        return joined(shown, self.static_controls(view), more)
