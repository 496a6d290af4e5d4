"""The panel that says what a GPU does with its time: live samples, recorded ones, and where the rest goes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from workbench.catalog.paths import MEASURED
from workbench.core.errors import WorkbenchError
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import shown_duration
from workbench.interface.html import message_card, paragraph, table, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.shared_view import minute_of, place_of, runs_of_kind
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.load.recording.rows import recording_of
from workbench.load.recording.spec import RecordingSpec
from workbench.questions.utilization import findings
from workbench.questions.utilization.figures import samples_over_time, where_time_goes
from workbench.questions.utilization.rows import GpuUse
from workbench.telemetry.samples import Recording, SampledSignals

LIVE = "live"
LIVE_S = 300.0  # of a running recording that is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilizationState(PanelState):
    """What is shown of a recording."""

    gpu: str = knob("gpu0", "GPU", "GPU whose time is split into losses.", choices={"gpu0": "gpu0"})
    request: str = knob(
        "ttft",
        "Overlaid request",
        "Request of a load that is overlaid on the samples: orange until its first token, green until its last one.",
        choices=findings.REQUESTS,
    )


class UtilizationPanel(QuestionPanel):
    """Run records this machine; what was recorded elsewhere is shown as such."""

    title = gettext("Why is my GPU not busy?")
    spec_class, state_class = RecordingSpec, UtilizationState
    hidden = frozenset({"history"})
    css_class, is_tall = "wb-use", True
    cancelled_note = BEGINS_ANEW
    tab_titles = (gettext("Energy"), gettext("All signals"))
    duration = gettext("Press Run; the recording takes one minute.")
    _live: Recording | None = None
    """What a running recording has sampled lately."""
    _drawn: tuple[str, float] | None = None
    """Job, and how far it was, when its samples were taken over."""

    def find_runs(self) -> list[Run]:
        """Return the recordings, and the loads whose machine was sampled."""
        runs = [r for k in ("recording", "load") for r in runs_of_kind(k, store=self.manager.store, shipped=MEASURED)]
        return [r for r in runs if recording_of(r)]

    def run_label(self, run: Run) -> str:
        """Return what was recorded, where and when."""
        return f"{findings.run_name(run)} · {run.environment.device} · {minute_of(run)}"

    def run_options(self) -> list[tuple[str, str | None]]:
        """Return what is sampled now, and the runs."""
        if self._live is None:
            return super().run_options()
        return [(gettext("● now, this machine"), LIVE), *((self.run_label(r), r.id) for r in self.runs)]

    def command_lines(self, plan: RecordingSpec) -> str:
        """Return the command that records, and two that follow it."""
        return (
            f"{super().command_lines(plan)}\n"
            "workbench why-idle          # where the time of the newest recording went\n"
            "workbench load URL --rate 20 --telemetry-hz 10    # a load with samples of its machine"
        )

    def progressed(self, view: JobView) -> None:
        """Show a recording that has begun, then draw its newest samples for as long as the reader looks at them."""
        samples, before = view.partial(SampledSignals), self._drawn
        if samples is None or before == (view.id, view.done):
            return
        newest, is_new = Recording.of(samples), before is None or before[0] != view.id or before[1] > view.done
        with self._turn:
            self._live = newest if is_new or self._live is None else self._live.followed_by(newest, keep_s=LIVE_S)
            self._drawn = view.id, view.done
            if is_new:
                self.state = self.settled(replace(self.state, run_id=LIVE), {})
            if self.state.run_id == LIVE:
                self.draw()

    def finished(self, view: JobView) -> None:
        """Show the whole recording, unless the reader has gone on to another one."""
        with self._turn:
            has_gone_on = self._live is not None and self.state.run_id != LIVE
            self._live, self.runs = None, self.find_runs()
            self.update(run_id=self.state.run_id if has_gone_on else view.id)

    def settled(self, state: UtilizationState, changes: Mapping[str, Any]) -> UtilizationState:  # noqa: ARG002
        """Return the state with a GPU of the recording that is shown."""
        gpus = self._gpus(state)
        return state if not gpus or state.gpu in gpus else replace(state, gpu=gpus[0])

    def choices(self) -> Mapping[str, list[tuple[str, str]]]:
        """Return the GPUs of the recording that is shown."""
        return {"gpu": [(gpu, gpu) for gpu in self._gpus(self.state) or [self.state.gpu]]}

    def _recording(self, state: UtilizationState) -> Recording | None:
        run = self.run_of(state)
        return self._live if state.run_id == LIVE else recording_of(run) if run else None

    def _gpus(self, state: UtilizationState) -> list[str]:
        recording = self._recording(state)
        return findings.gpus_of(recording) if recording else []

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run, recording = self.run, self._recording(self.state)
        if recording is None:
            return self.nothing_measured()
        span = findings.shown_span(run, recording)
        start, end = span.start_s, span.end_s
        request = findings.overlaid_request(run, self.state.request) if run else None
        gpu = self.state.gpu if self.state.gpu in findings.gpus_of(recording) else None
        use: GpuUse | None = None
        why = findings.problem_text(recording.problems["gpu"]) if "gpu" in recording.problems else None
        cause = f"NVML: {why or gettext('none was sampled')}."
        remedy = gettext("Choose a recorded run above to see a GPU.")
        answer = message_card("caution", gettext("No GPU was sampled; the host is shown."), cause, remedy)
        try:
            if gpu:
                use = findings.gpu_use(recording, gpu, start, end)
                answer = verdict_card(findings.verdict(use))
        except WorkbenchError as error:
            answer = message_card(
                "caution", gettext("The time of this GPU cannot be split into losses."), error.cause, error.remedy
            )
        where = place_of(run) if run else gettext("on this machine, now")
        missing = (f"{n}: {findings.problem_text(why)}" for n, why in recording.problems.items() if "." not in n)
        return AnswerView(
            about=" · ".join((where, *missing)),
            answer=answer,
            figures=(
                *([lambda: where_time_goes(use)] if use else []),
                lambda: samples_over_time(recording, span, gpu=gpu, request=request),
            ),
            table=table(findings.LOSS_HEAD, findings.loss_rows(use), left=(2, 3)) if use else Markup(""),
            tabs=(
                _energy(run, recording, start, end),
                lambda: table(findings.SIGNAL_HEAD, findings.signal_rows(recording, start, end), left=(1,)),
            ),
            run=run,
        )


def _energy(run: Run | None, recording: Recording, start: float, end: float) -> Markup:
    if run is None:
        return paragraph(gettext("Shown when the recording has ended."))
    rows = findings.energy_rows(findings.energy_by_unit(run, recording, start, end))
    return table((gettext("Energy in {span} ●").format(span=shown_duration(end - start)), "J"), rows)
