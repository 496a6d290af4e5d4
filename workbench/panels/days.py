"""The panel over days of samples: what this machine, its GPUs and a server did, at the grain that a plot can show."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.core.errors import WorkbenchError
from workbench.core.recording import LONGEST_HISTORY_S, RecordingSpec
from workbench.core.samples import Signal
from workbench.core.units import shown_duration, three_digits
from workbench.figures.history import days_in_lanes
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block
from workbench.store.history import History, Span, histories_in, history_folder

KIND = "recording"
TITLE = "What happened in the last days?"
SPANS = {"5 minutes": 300.0, "hour": 3600.0, "day": 86400.0, "week": 7 * 86400.0, "month": 30 * 86400.0}
PARTS = 600
REDRAW_S = 1.0
# Unit of a lane, and signals of any device that are drawn in it.
WHAT: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "GPUs": (
        ("%", ("utilisation_percent",)),
        ("% tensor", ("tensor_active_percent",)),
        ("W", ("power_w",)),
        ("MHz", ("sm_clock_mhz",)),
    ),
    "host": (
        ("%", ("host.cpu_percent", "host.busiest_core_percent")),
        ("B", ("host.memory_used_bytes",)),
        ("s/s", ("host.cpu_stalled_s.per_s", "host.memory_stalled_s.per_s", "host.io_stalled_s.per_s")),
        ("B/s", ("host.received_bytes.per_s", "host.sent_bytes.per_s")),
    ),
    "server": (
        ("requests", ("engine.num_requests_running", "engine.num_requests_waiting")),
        ("share", ("engine.kv_cache_usage_perc",)),
        ("tokens/s", ("engine.generation_tokens_total.per_s", "engine.prompt_tokens_total.per_s")),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysState:
    """Everything that the view is drawn from."""

    name: str | None = None
    what: str = "host"
    span: str = "hour"
    into: str = "this-machine"
    days: float = 7.0
    url: str = ""


class DaysPanel(AnswerPanel):
    """Run records into a history that grows on disk; it can be looked at meanwhile, from any kernel."""

    tab_titles = ("All signals", "On a command line", "Spec as code")
    n_plots = 1

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-days", is_tall=True, manager=manager, poll_s=poll_s)
        self._drawn_s = -1.0
        names = histories_in(self.manager.home)
        self.state = DaysState(name=names[0] if names else None)
        later = {"continuous_update": False}
        self.controls = {
            "name": labelled(widgets.Dropdown, "History", value=self.state.name, options=self._options()),
            "what": labelled(widgets.Dropdown, "Of what", value="host", options=list(WHAT)),
            "span": labelled(widgets.Dropdown, "The last", value="hour", options=list(SPANS)),
            "into": labelled(widgets.Text, "Record into (name)", value=self.state.into, **later),
            "days": labelled(
                widgets.BoundedFloatText, "For, days", value=7.0, min=1e-5, max=LONGEST_HISTORY_S / 86400, **later
            ),
            "url": labelled(widgets.Text, "Server with counters (URL, may be empty)", value="", **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _options(self) -> list[tuple[str, str | None]]:
        return [(n, n) for n in histories_in(self.manager.home)] or [("nothing recorded yet", None)]

    @property
    def plan(self) -> RecordingSpec:
        """The recording that Run starts."""
        s = self.state
        folder = history_folder(self.manager.home, s.into.strip())
        return RecordingSpec(duration_s=s.days * 86400, rate_hz=1.0, url=s.url.strip() or None, history=str(folder))

    def attached(self, view: JobView) -> None:  # noqa: ARG002
        """A recording goes on, of this panel or of another one."""
        self._drawn_s = -1.0

    def progressed(self, view: JobView) -> None:
        """Draw what was added, once a second."""
        if view.done - self._drawn_s < REDRAW_S:
            return
        self._drawn_s = view.done
        names = histories_in(self.manager.home)
        if names:
            with self._turn:
                into = self.state.into.strip()
                self.update(name=into if into in names else self.state.name or names[0])

    def finished(self, view: JobView) -> None:  # noqa: ARG002
        """Draw the last rows."""
        self._drawn_s = -1.0
        names = histories_in(self.manager.home)
        self.update(name=self.state.name or (names[0] if names else None))

    def show_controls(self) -> None:
        """What there is to choose from."""
        if list(self.controls["name"].options) != self._options():
            self.controls["name"].options = self._options()
        super().show_controls()

    def view(self) -> AnswerView:
        """The answer to the state."""
        header = f"<h2>{TITLE}</h2>"
        try:
            plan = self.plan
            tabs = (code_block(_commands(plan, self.state)), code_block(plan.as_code()))
        except WorkbenchError as error:
            tabs = (f"<p>{escape(str(error))}</p>",) * 2
        name = self.state.name
        try:
            history = History(history_folder(self.manager.home, name)) if name else None
            ends = history.ends_s if history is not None else None
        except WorkbenchError as error:
            card = message_card("failure", "This history cannot be read.", error.cause, error.remedy)
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", *tabs), run=None)
        if history is None or ends is None:
            card = message_card(
                "caution",
                "No history was recorded yet.",
                "Press Run: it adds a row a second.",
                "It can be left alone for days.",
            )
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", *tabs), run=None)
        start = max(ends[0], ends[1] - SPANS[self.state.span])
        by_name = {s.name: s for s in history.signals}
        lanes = _lanes(history, by_name, self.state.what, start, ends[1])
        what = self.state.what
        first, last = (datetime.fromtimestamp(t, tz=UTC).strftime("%Y-%m-%d %H:%M:%S") for t in ends)
        return AnswerView(
            header=f"{header}<p class='sub'>● measured, {escape(str(name))}: {first} to {last} UTC, {len(by_name)} signals</p>",
            answer=_verdict(history, by_name, start, ends),
            figures=(lambda: days_in_lanes(lanes, title=f"{what}: the last {shown_duration(ends[1] - start)}"),)
            if lanes
            else (),
            table="" if lanes else f"<p>This history has no signals of: {escape(what)}.</p>",
            tabs=(lambda: _signals(history, by_name, start, ends[1]), *tabs),
            run=None,
        )


def _lanes(
    history: History, by_name: Mapping[str, Signal], what: str, start: float, end: float
) -> list[tuple[str, dict[str, Span]]]:
    lanes = []
    for unit, wanted in WHAT[what]:
        spans = {}
        for name, signal in by_name.items():
            device, _, quantity = name.partition(".")
            if name in wanted or (device.startswith("gpu") and quantity in wanted):
                label = device if what == "GPUs" else signal.label
                spans[label] = history.read(name, start, end, most_parts=PARTS)
        if any(s.at_s.size for s in spans.values()):
            lanes.append((unit, spans))
    return lanes


def _verdict(history: History, by_name: Mapping[str, Signal], start: float, ends: tuple[float, float]) -> str:
    shown = shown_duration(ends[1] - start)
    told = []
    for name, text in (
        ("host.busiest_core_percent", "the busiest core {mean:.0f} % on average, {high:.0f} % at most"),
        ("gpu0.utilisation_percent", "GPU 0 with a kernel {mean:.0f} % of the time"),
        ("engine.num_requests_waiting", "{high:.0f} requests waiting at most"),
    ):
        if name in by_name:
            span = history.read(name, start, ends[1], most_parts=PARTS)
            if span.at_s.size:
                told.append(text.format(mean=span.mean.mean(), high=span.high.max()))
    times = history.read(next(iter(by_name)), start, ends[1], most_parts=PARTS).at_s
    grain = (times[1:] - times[:-1]).min() if times.size > 1 else 1.0
    return verdict_card(
        f"In the last {shown}: {'; '.join(told) or 'samples without these signals'}.",
        f"{times.size} parts of {shown_duration(float(grain))} are drawn; all the seconds are on disk.",
        "Seconds in which nothing was recorded are not drawn and not counted.",
        is_stale=False,
    )


def _signals(history: History, by_name: Mapping[str, Signal], start: float, end: float) -> str:
    rows = []
    for name, signal in by_name.items():
        span = history.read(name, start, end, most_parts=PARTS)
        if not span.at_s.size:
            continue
        values = (span.low.min(), span.mean.mean(), span.high.max())
        rows.append(
            (escape(name), escape(signal.label), *(f"{three_digits(float(v))} {escape(signal.unit)}" for v in values))
        )
    return table(("Signal", "what", "least", "mean", "greatest"), rows, left=(1,))


def _commands(plan: RecordingSpec, state: Any) -> str:
    url = f" --url {plan.url}" if plan.url else ""
    return f"workbench record --seconds {plan.duration_s:g} --rate {plan.rate_hz:g}{url} --days {state.into.strip()}"


def panel(**options: Any) -> DaysPanel:
    """The panel, on the first history."""
    return DaysPanel(**options)
