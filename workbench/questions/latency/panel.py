"""The panel that says why latency changed between two loads: parts, causes with their evidence, and the load that confirms one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import plotly.graph_objects as go
from markupsafe import Markup

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.columns import Columns, cells_of
from workbench.core.errors import NotAvailable
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import NOT_KNOWN, shown_percent
from workbench.interface.html import bold, code_block, joined, lines, message_card, paragraph, table, verdict_card
from workbench.interface.job_panel import POLL_S
from workbench.interface.knobs import command_line
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.shared_view import runs_of_kind
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.load.rows import LoadSamples
from workbench.load.spec import LoadSpec
from workbench.questions.latency.figures import change_by_part, latencies_over_time
from workbench.questions.latency.findings import Diagnosis, Ranked, answers, diagnose
from workbench.questions.latency.findings.confirmation import Confirmation, Outcome, confirmation, outcome
from workbench.questions.latency.findings.latency_split import known_split
from workbench.questions.latency.rows import LATENCIES, holds_requests, label, latencies
from workbench.questions.latency.spec import DiagnosisSpec
from workbench.store.runs import runs_in_folder

EXAMPLES = "diagnosis"  # loads of the fault suite
MOST_TRIED = 12
NOTHING_TO_CONFIRM = gettext("There is nothing to confirm.")
MEASURE_BOTH = "workbench load URL --rate 5 --telemetry-hz 5 --probe"
SHOWN_CAUSES, SHOWN_CLUES = 5, 2
CAUSES: Columns[Ranked] = {
    gettext("Cause ●"): lambda c: gettext(c.title),
    gettext("probability"): lambda c: shown_percent(c.probability),
    gettext("evidence for it"): lambda c: lines(answers.evidence_for(c)[:SHOWN_CLUES] or [NOT_KNOWN]),
    gettext("evidence against it"): lambda c: lines(answers.evidence_against(c)[:SHOWN_CLUES] or [NOT_KNOWN]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyState(PanelState):
    """Choices of the diagnosis panel: the latency that is drawn, and the server that Confirm sends its load to."""

    latency: str = knob(
        "ttft",
        "Latency drawn",
        "Latency of each request that the second plot shows over time: TTFT or end-to-end latency.",
        choices=LATENCIES,
    )
    url: str | None = knob(
        None,
        "Server for Confirm",
        "Base URL of the server that the confirming load is sent to; the server of the load in question if left out.",
        is_advanced=True,
    )


class LatencyPanel(QuestionPanel):
    """Compares two measured loads; Confirm sends the load that would confirm the named cause."""

    title = gettext("Why did latency jump?")
    spec_class, state_class, measured_class = DiagnosisSpec, LatencyState, LoadSpec
    lists_runs = False
    css_class = "wb-latency"
    tab_titles = (gettext("All evidence"), gettext("Confirming load"))

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S, **start: object) -> None:
        self._pending: tuple[Confirmation, Run, Run] | None = None
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._diagnoses: dict[tuple[str, str], Diagnosis] = {}
        super().__init__(manager, poll_s=poll_s, **start)
        self.job_bar.run.description = gettext("Confirm")
        self.job_bar.run.tooltip = gettext("Send the load that would confirm the named cause.")

    def find_runs(self) -> list[Run]:
        """Return the measured loads, those of the fault suite last."""
        own = runs_of_kind(LoadSpec.kind, store=self.manager.store, shipped=SHIPPED)
        return [r for r in (*own, *runs_in_folder(SHIPPED / EXAMPLES)) if holds_requests(r)]

    def first_state(self, state: LatencyState) -> LatencyState:
        """Return the state with a pair of loads whose cause is named, where none was chosen."""
        pair = first_pair(self.runs)
        return replace(state, asked={name: state.asked[name] or pair[name] for name in pair})

    def choices(self) -> Mapping[str, list[tuple[str, str | None]]]:
        """Return the loads, for both sides of the comparison."""
        loads: list[tuple[str, str | None]] = [(label(r), r.id) for r in self.runs]
        return {
            name: loads or [(gettext("no load has been measured yet"), asked)]
            for name, asked in self.state.asked.items()
        }

    def command_lines(self, plan: DiagnosisSpec) -> str:
        """Return the commands that measure both loads, compare them and confirm the cause."""
        line = command_line(plan.command, plan)
        return (
            f"{MEASURE_BOTH}    # once while latency is normal, once while it is not\n{line}\n"
            f"{line} --confirm    # sends the load that would confirm the cause\n"
            "workbench faults    # scores every method on this machine"
        )

    def _pair(self) -> tuple[Run, Run]:
        """Return the two loads; raises ``NotAvailable`` where there are none."""
        by_id = {r.id: r for r in self.runs}
        if not set(self.state.asked.values()) <= set(by_id):
            raise NotAvailable(
                gettext("There are no two loads to compare."),
                remedy=gettext("Measure both: {command}").format(command=MEASURE_BOTH),
            )
        return by_id[self.state.asked["baseline"]], by_id[self.state.asked["current"]]

    def _diagnosis(self, a: Run, b: Run) -> Diagnosis:
        if (a.id, b.id) not in self._diagnoses:
            self._diagnoses[a.id, b.id] = diagnose(a, b)
        return self._diagnoses[a.id, b.id]

    def _confirmation(self) -> Confirmation:
        a, b = self._pair()
        plan, url = confirmation(self._diagnosis(a, b), a, b), self.state.url
        return replace(plan, spec=replace(plan.spec, url=url, server_pid=None)) if url else plan

    @property
    def measured_spec(self) -> LoadSpec:
        """Spec of the confirming load; raises ``NotAvailable`` when there is nothing to confirm."""
        return self._confirmation().spec

    def check(self) -> None:
        """Keep the cause that the load is to confirm; raises ``NotAvailable`` when there is nothing to confirm."""
        self._pending = (self._confirmation(), *self._pair())

    def finished(self, view: JobView) -> None:
        """Show the result of the confirming load."""
        self.runs = self.find_runs()
        if self._pending is None:  # a load that was sent from elsewhere
            return self.update()
        pending, a, b = self._pending
        self._outcomes[a.id, b.id] = outcome(pending, a, b, self.manager.store.get(view.id))
        return self.update(baseline=a.id, current=b.id)

    def show_controls(self) -> None:
        """Set the controls; Confirm is disabled while there is nothing to confirm."""
        super().show_controls()
        try:
            self.job_bar.allow_run(self._diagnosis(*self._pair()).alarm)
        except NotAvailable:
            self.job_bar.allow_run(False)

    def view(self) -> AnswerView:
        """Return the diagnosis of the two loads, with its figures and tables."""
        try:
            a, b = self._pair()
        except NotAvailable as error:
            return AnswerView(answer=message_card("caution", error.cause, "", error.remedy))
        diagnosis, split = self._diagnosis(a, b), known_split(a, b)
        tested, shown = self._outcomes.get((a.id, b.id)), cells_of(CAUSES, diagnosis.causes[:SHOWN_CAUSES])
        by_part = () if split is None else (lambda: change_by_part(split),)
        return AnswerView(
            about=f"{label(a)} → {label(b)}",
            answer=verdict_card(answers.verdict(diagnosis, tested)),
            figures=(*by_part, lambda: self._over_time(a, b)),
            table=table(CAUSES, shown, highlighted=0 if diagnosis.named else None, left=(2, 3)),
            tabs=(lambda: _evidence(diagnosis), lambda: self._confirm(diagnosis, tested)),
            run=b,
        )

    def _over_time(self, a: Run, b: Run) -> go.Figure:
        baseline, current = (latencies(r, self.state.latency) for r in (a, b))
        return latencies_over_time(
            baseline,
            current,
            name=gettext(LATENCIES[self.state.latency]),
            changed_at_s=answers.changed_at_s(baseline, current),
            false_alarm_rate=answers.FALSE_ALARM_RATE,
        )

    def _confirm(self, diagnosis: Diagnosis, tested: Outcome | None) -> Markup:
        if not diagnosis.alarm:
            return paragraph(NOTHING_TO_CONFIRM)
        plan = self._confirmation()
        result = (
            (gettext("Press Confirm to send it."),)
            if tested is None
            else (bold(f"{tested.verdict}."), f" {tested.text}")
        )
        return joined(paragraph(plan.expects), paragraph(*result), code_block(plan.spec.as_code()))


def _evidence(diagnosis: Diagnosis) -> Markup:
    n = answers.n_without_evidence(diagnosis)
    note = paragraph(gettext("{n} causes have no evidence, for or against.").format(n=n)) if n else ""
    return joined(table(answers.EVIDENCE_HEAD, answers.evidence_rows(diagnosis), left=(1,)), note)


def first_pair(runs: Sequence[Run]) -> dict[str, str | None]:
    """Return a load and an earlier one of the same model and device, both probed, between which a cause is named."""
    probed = [r for r in runs if isinstance(r.samples, LoadSamples) and r.samples.probe][:MOST_TRIED]
    for current in probed:
        for other in reversed(probed):
            sides = [(r.environment.device, r.model, r.asked(LoadSpec).endpoint) for r in (other, current)]
            if other.finished_at < current.finished_at and sides[0] == sides[1] and diagnose(other, current).named:
                return {"baseline": other.id, "current": current.id}
    ids = [r.id for r in runs[:2]]
    return {"baseline": ids[-1], "current": ids[0]} if ids else {"baseline": "", "current": None}
