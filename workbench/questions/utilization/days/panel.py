"""The panel over days of samples: what this machine, its GPUs and a server did, at the grain that a plot can show."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from workbench.core.errors import WorkbenchError
from workbench.core.knobs import knob
from workbench.core.language import gettext, pgettext
from workbench.core.units import shown_duration
from workbench.interface.html import message_card, paragraph, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.load.recording.spec import LONGEST_HISTORY_S, RecordingSpec
from workbench.questions.utilization.days.figures import days_in_lanes
from workbench.questions.utilization.days.findings import LANES, SIGNAL_HEAD, lanes, signal_rows, spans_of, verdict
from workbench.telemetry.history import History, histories_in, history_folder

DAY_S = 86400.0
SPANS_S = {"5 minutes": 300.0, "hour": 3600.0, "day": DAY_S, "week": 7 * DAY_S, "month": 30 * DAY_S}
SPAN_LABELS = {
    "5 minutes": gettext("5 minutes"),
    "hour": pgettext("period", "hour"),
    "day": pgettext("period", "day"),
    "week": pgettext("period", "week"),
    "month": pgettext("period", "month"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysState(PanelState):
    """Which history is shown and how, and the one that Run records into."""

    name: str | None = knob(None, "History", "Recorded history on disk that is shown.", choices={})
    what: str = knob(
        "host", "Signals", "Group of signals that is drawn.", choices={name: gettext(name) for name in LANES}
    )
    span: str = knob(
        "hour",
        "Shown period",
        "Length of the period that is shown, up to the last sample.",
        choices=SPAN_LABELS,
    )
    into: str = knob(
        "this-machine",
        "Name of the recording",
        "Name of the history that Run records into; one that exists is continued.",
    )
    days: float = knob(
        7.0,
        "Duration of the recording",
        "Number of days that Run records.",
        unit="days",
        low=1e-5,
        high=LONGEST_HISTORY_S / DAY_S,
    )


class DaysPanel(QuestionPanel):
    """Run records into a history that grows on disk; it can be looked at meanwhile, from any kernel."""

    title = gettext("What happened in the last days?")
    spec_class, state_class = RecordingSpec, DaysState
    hidden = frozenset({"duration_s", "rate_hz", "pids", "history"})
    lists_runs = False
    css_class, is_tall, n_plots = "wb-days", True, 1
    tab_titles = (gettext("All signals"),)
    duration = gettext("Press Run; the recording adds one row per second and runs for days unattended.")
    _drawn: tuple[str, float] | None = None
    """Job, and how far it was, of the last drawing."""

    def first_state(self, state: DaysState) -> DaysState:
        """Return the state with the first history."""
        return replace(state, name=next(iter(self._names()), None))

    def _names(self) -> list[str]:
        return histories_in(self.manager.home)

    def choices(self) -> Mapping[str, list[tuple[str, str | None]]]:
        """Return the histories that are on disk."""
        names: list[str | None] = [*self._names()]
        if self.state.name not in names:
            names.insert(0, self.state.name)
        return {"name": [(name or gettext("nothing recorded yet"), name) for name in names]}

    @property
    def plan(self) -> RecordingSpec:
        """The recording that Run starts."""
        folder = history_folder(self.manager.home, self.state.into)
        return RecordingSpec(**self.state.asked, duration_s=self.state.days * DAY_S, rate_hz=1.0, history=str(folder))

    def command_lines(self, plan: RecordingSpec) -> str:
        """Return the command, which takes the name of a history."""
        return super().command_lines(replace(plan, history=self.state.into))

    def progressed(self, view: JobView) -> None:
        """Show the history that a job has begun, then draw what it adds for as long as the reader looks at it."""
        name = Path(view.spec.get("history") or "").name
        if name not in self._names() or (view.id, view.done) == self._drawn:
            return
        with self._turn:
            if self._drawn is None or self._drawn[0] != view.id:
                self.state = replace(self.state, name=name)
            self._drawn = view.id, view.done
            if self.state.name == name:
                self.draw()

    def finished(self, view: JobView) -> None:  # noqa: ARG002
        """Draw the last rows of what is shown."""
        with self._turn:
            self.state = replace(self.state, name=self.state.name or next(iter(self._names()), None))
            self.draw()

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        state, ends = self.state, None
        try:
            if state.name is not None:
                history = History(history_folder(self.manager.home, state.name))
                ends = history.ends_s
        except WorkbenchError as error:
            return AnswerView(
                answer=message_card("failure", gettext("This history cannot be read."), error.cause, error.remedy)
            )
        if ends is None:
            card = message_card(
                "caution", gettext("No history was recorded yet."), gettext("There is nothing on disk."), self.duration
            )
            return AnswerView(answer=card)
        start = max(ends[0], ends[1] - SPANS_S[state.span])
        spans, shown_s = spans_of(history, start, ends[1]), ends[1] - start
        drawn = lanes(history.signals, spans, state.what)
        first, last = (datetime.fromtimestamp(t, tz=UTC).strftime("%Y-%m-%d %H:%M:%S") for t in ends)
        what = gettext(state.what)
        title = gettext("{what}: the last {period}").format(what=what, period=shown_duration(shown_s))
        return AnswerView(
            about=gettext("in {name}: {first} to {last} UTC, {n} signals").format(
                name=state.name, first=first, last=last, n=len(history.signals)
            ),
            answer=verdict_card(verdict(spans, shown_s=shown_s)),
            figures=(lambda: days_in_lanes(drawn, title=title),) if drawn else (),
            table=Markup("")
            if drawn
            else paragraph(gettext("This history has no signals of: {what}.").format(what=what)),
            tabs=(lambda: table(SIGNAL_HEAD, signal_rows(history.signals, spans), left=(1,)),),
        )
