"""What a question says of its panel: class attributes, and methods that it may define."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets
import plotly.graph_objects as go
from markupsafe import Markup

from workbench.catalog.paths import MEASURED
from workbench.core.knobs import KnobField
from workbench.core.language import gettext
from workbench.core.rows import Json, flat
from workbench.core.runs import Run
from workbench.interface.compared_runs import side_by_side
from workbench.interface.html import EMPTY
from workbench.interface.job_panel import JobPanel
from workbench.interface.knobs import command_line
from workbench.interface.shared_view import run_label, runs_of_kind
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.store.runs import RunStore


class DeclaredPanel(JobPanel):
    """A panel that is declared by its class attributes and by ``view``; how it is shown is left to the frame."""

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
    duration: ClassVar[str] = gettext("Press Run.")
    """What to do, and how long it takes, when nothing was measured yet."""

    runs: list[Run]
    """Runs that can be shown, newest first."""
    fields: Mapping[str, KnobField]
    """Knobs of the spec, by name."""
    view_fields: Mapping[str, KnobField]
    """Knobs of what is shown, by name."""
    state: Any
    """Everything that the panel is drawn from."""
    _turn: threading.RLock
    """Held by the thread that draws: a job's thread draws too, and a reader's choice must not be lost meanwhile."""
    _first: Any
    """State that the panel opened with."""

    def update(self, **changes: Any) -> None:
        """Take over choices and draw."""
        raise NotImplementedError

    def draw(self) -> None:
        """Draw everything from the state."""
        raise NotImplementedError

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
        return self.state.asked != self._first.asked and bool(self.changed_since(run))

    def _field(self, name: str) -> KnobField:
        return self.fields.get(name) or self.view_fields[name]

    def _value(self, name: str) -> Any:
        return self.state.asked[name] if name in self.fields else getattr(self.state, name)
