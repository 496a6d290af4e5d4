"""The panel that says what a GPU does with its time: live samples, recorded ones, and where the rest goes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.errors import WorkbenchError
from workbench.core.recording import LONGEST_S, RecordingSpec
from workbench.core.runs import Run
from workbench.core.samples import Recording
from workbench.core.units import shown_duration, three_digits
from workbench.experiments.gpu_use import GpuUse, energy_by_unit, gpu_use, gpus_of
from workbench.experiments.recording import recording_of, span_of
from workbench.figures.tables import message_card, table, verdict_card
from workbench.figures.utilisation import samples_over_time, where_time_goes
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "recording"
TITLE = "Why is my GPU not busy?"
LIVE = "live"
REQUESTS = {
    "none": "no request",
    "ttft": "longest wait for its first token",
    "e2e": "longest from due to end",
    "middle": "the middle one",
}
LIVE_S = 300.0  # of a running recording that is drawn
REDRAW_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UseState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    gpu: str = "gpu0"
    request: str = "ttft"
    duration_s: float = 60.0
    rate_hz: float = 10.0
    url: str = ""


class UtilisationPanel(AnswerPanel):
    """Run records this machine; what was recorded elsewhere is shown as such."""

    tab_titles = ("Energy", "All signals", "On a command line", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-use", is_tall=True, manager=manager, poll_s=poll_s)
        self._load_runs()
        self._live: Recording | None = None
        self._drawn_s = -1.0
        self.state = UseState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.state.run_id, options=self._options()),
            "gpu": labelled(widgets.Dropdown, "GPU", value="gpu0", options=["gpu0"]),
            "request": labelled(
                widgets.Dropdown, "Request laid over it", value="ttft", options=[(v, k) for k, v in REQUESTS.items()]
            ),
            "duration_s": labelled(
                widgets.BoundedFloatText, "Record, seconds", value=60.0, min=1, max=LONGEST_S, **later
            ),
            "rate_hz": labelled(widgets.BoundedFloatText, "Samples a second", value=10.0, min=0.1, max=50, **later),
            "url": labelled(widgets.Text, "Server with counters (URL, may be empty)", value="", **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _load_runs(self) -> None:
        found = [
            *runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED),
            *runs_of_kind("load", store=self.manager.store, shipped=SHIPPED),
        ]
        self.runs = [r for r in found if r.samples.get("telemetry")]

    def _options(self) -> list[tuple[str, str | None]]:
        live = [("● now, this machine", LIVE)] if self._live is not None else []
        return [*live, *((_label(r), r.id) for r in self.runs)] or [("nothing recorded yet", None)]

    @property
    def plan(self) -> RecordingSpec:
        """The recording that Run starts."""
        s = self.state
        return RecordingSpec(duration_s=s.duration_s, rate_hz=s.rate_hz, url=s.url.strip() or None)

    def progressed(self, view: JobView) -> None:
        """Take over the newest samples, and draw them once a second."""
        told = view.result.get("telemetry") if view.result else None
        if not told or view.done - self._drawn_s < REDRAW_S:
            return
        self._drawn_s = view.done
        newest = Recording.from_dict(told)
        with self._turn:
            self._live = newest if self._live is None else self._live.followed_by(newest, keep_s=LIVE_S)
            if self.state.run_id != LIVE:
                self.state = replace(self.state, run_id=LIVE)
            self.draw()

    def attached(self, view: JobView) -> None:  # noqa: ARG002
        """A recording goes on: what comes is drawn."""
        self._live, self._drawn_s = None, -1.0

    def finished(self, view: JobView) -> None:
        """Show the whole recording."""
        self._live, self._drawn_s = None, -1.0
        self._load_runs()
        self.update(run_id=view.id)

    def settled(self, state: UseState, changes: dict[str, Any]) -> UseState:  # noqa: ARG002
        """Another recording has other GPUs."""
        made = self._shown(state)[1]
        gpus = gpus_of(made) if made is not None else []
        return state if state.gpu in gpus or not gpus else replace(state, gpu=gpus[0])

    def show_controls(self) -> None:
        """What there is to choose from."""
        made = self._shown(self.state)[1]
        offers: dict[str, list[Any]] = {
            "run_id": self._options(),
            "gpu": (gpus_of(made) if made is not None else []) or [self.state.gpu],
        }
        for name, options in offers.items():
            if list(self.controls[name].options) != options:
                self.controls[name].options = options
        super().show_controls()

    def _shown(self, state: UseState) -> tuple[Run | None, Recording | None]:
        if state.run_id == LIVE:
            return None, self._live
        run = next((r for r in self.runs if r.id == state.run_id), None)
        return run, recording_of(run) if run is not None else None

    def view(self) -> AnswerView:
        """The answer to the state."""
        state = self.state
        run, made = self._shown(state)
        empty = ("",) * len(self.tab_titles)
        if made is None:
            card = message_card("caution", "Nothing was recorded yet.", "Press Run.", "It takes a minute.")
            return AnswerView(header=f"<h2>{TITLE}</h2>", answer=card, figures=(), table="", tabs=empty, run=None)
        start, end = span_of(run, made) if run is not None else _ends(made)
        origin = float(run.samples.get("started_monotonic_s") or start) if run is not None else start
        request = _chosen_request(run, state.request) if run is not None else None
        gpu = state.gpu if state.gpu in gpus_of(made) else None
        figures: list[Any] = []
        use: GpuUse | None = None
        try:
            if gpu is not None:
                use = gpu_use(made, gpu, start, end)
        except WorkbenchError as error:
            answer = message_card("caution", "The time of this GPU cannot be split.", error.cause, error.remedy)
        else:
            answer = _verdict(use) if use is not None else _no_gpu(made)
        if use is not None:
            losses = [{"cause": x.cause, "fraction": x.fraction, "evidence": x.evidence} for x in use.losses]
            reached, what = use.achieved_fraction, use.achieved
            figures.append(lambda: where_time_goes(losses, achieved_fraction=reached, achieved=what))
        figures.append(lambda: self._over_time(made, gpu, origin, start, end, request))
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>{_stands_on(run, made)}</p>",
            answer=answer,
            figures=tuple(figures),
            table=_losses(use) if use is not None else "",
            tabs=(
                _energy(run, made, start, end),
                _signals(made, start, end),
                code_block(_commands(self.plan)),
                code_block(self.plan.as_code()),
            ),
            run=run,
        )

    @staticmethod
    def _over_time(
        made: Recording,
        gpu: str | None,
        origin: float,
        start: float,
        end: float,
        request: Mapping[str, Any] | None,
    ) -> go.Figure:
        return samples_over_time(made, gpu=gpu, origin_s=origin, start_s=start, end_s=end, request=request)


def _ends(made: Recording) -> tuple[float, float]:
    sampled = [t for t in made.times_s.values() if t.size]
    return min(float(t[0]) for t in sampled), max(float(t[-1]) for t in sampled)


def _label(run: Run) -> str:
    when = run.finished_at[:16].replace("T", " ")
    if run.kind == "load":
        what = f"load on {run.spec['model']}"
        rate = (run.results[0].get("rates") or {}).get("offered_per_s") if run.results else None
        what += f", {rate:.1f} requests/s" if rate else ""
    else:
        what = f"recording of {shown_duration(run.spec['duration_s'])}"
    return f"{what} · {run.environment.device} · {when}"


def _chosen_request(run: Run, how: str) -> Mapping[str, Any] | None:
    asked = [
        q
        for q in run.samples.get("requests", [])
        if not q.get("error") and q.get("first_content_s") is not None and q.get("end_s") is not None
    ]
    if not asked or how == "none":
        return None

    def waited(q: Mapping[str, Any]) -> float:
        return float(q["first_content_s"] - q["due_s"])

    def took(q: Mapping[str, Any]) -> float:
        return float(q["end_s"] - q["due_s"])

    by_length: list[Mapping[str, Any]] = sorted(asked, key=waited if how == "ttft" else took)
    return by_length[len(by_length) // 2] if how == "middle" else by_length[-1]


def _stands_on(run: Run | None, made: Recording) -> str:
    missing = "".join(f" · {escape(name)}: {escape(why)}" for name, why in made.problems.items() if "." not in name)
    if run is None:
        return f"● measured, this machine, now{missing}"
    return f"● measured on {escape(run.environment.device)}, run {run.id}, {run.day}{missing}"


def _verdict(use: GpuUse) -> str:
    loss = use.largest
    dram = "" if use.dram_fraction is None else f" Memory bandwidth in use {100 * use.dram_fraction:.0f} %."
    blind = f" Not seen: {'; '.join(use.not_seen)}." if use.not_seen else ""
    return verdict_card(
        f"{100 * use.achieved_fraction:.0f} % of the time at the highest clock {use.achieved}; most is lost to "
        f"{loss.cause} ({100 * loss.fraction:.0f} %).",
        f"{loss.evidence[0].upper()}{loss.evidence[1:]}. {loss.remedy}{dram}",
        f"Shares are subtracted in the order shown; where losses overlap the first one takes them.{blind}",
        is_stale=False,
    )


def _no_gpu(made: Recording) -> str:
    why = made.problems.get("gpu", "none was sampled")
    return message_card(
        "caution", "No GPU was seen; the host is shown.", f"NVML: {why}.", "Choose a recorded run above to see a GPU's."
    )


def _losses(use: GpuUse) -> str:
    rows = [(escape(x.cause), f"{100 * x.fraction:.1f} %", escape(x.evidence), escape(x.remedy)) for x in use.losses]
    rows.append((escape(use.achieved), f"{100 * use.achieved_fraction:.1f} %", "what remains", ""))
    return table(("Where the time goes ●", "share", "evidence", "what could help"), rows, left=(2, 3))


def _energy(run: Run | None, made: Recording, start: float, end: float) -> str:
    if run is None:
        return "<p>Shown when the recording has ended.</p>"
    told = energy_by_unit(run, made, start, end)
    names = {
        "joules": "all GPUs, J",
        "joules_per_output_token": "per output token, J",
        "joules_per_request": "per answered request, J",
        "joules_per_good_request": "per request that kept its promises, J",
    }
    rows = [(names[k], "–" if v is None else three_digits(v)) for k, v in told.items()]
    return table((f"Energy in {shown_duration(end - start)} ●", ""), rows)


def _signals(made: Recording, start: float, end: float) -> str:
    rows = []
    for name, signal in made.signals.items():
        if name not in made:
            continue
        if signal.kind == "counter":
            grown = made.increase(name, start, end)
            shown = "–" if grown is None else f"+{three_digits(grown)}"
        else:
            mean = made.mean(name, start, end)
            shown = "–" if mean is None else three_digits(mean)
        rows.append((escape(name), escape(signal.label), f"{shown} {escape(signal.unit)}", str(made.values[name].size)))
    missing = [(escape(n), escape(why)) for n, why in made.problems.items()]
    return table(("Signal", "what", "mean, or growth", "samples"), [*rows, *missing], left=(1,))


def _commands(plan: RecordingSpec) -> str:
    url = f" --url {plan.url}" if plan.url else ""
    return (
        f"workbench record --seconds {plan.duration_s:g} --rate {plan.rate_hz:g}{url}\n"
        "workbench why-idle          # where the time of the newest recording went\n"
        "workbench load URL --rate 20 --telemetry-hz 10    # a load with samples of its machine"
    )


def panel(**options: Any) -> UtilisationPanel:
    """The panel, attached to a recording that is still going."""
    return UtilisationPanel(**options)
