"""The panel that says how far a diagnosis can be trusted: faults with known causes on a real engine, and the methods that found them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from markupsafe import Markup

from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.html import block, bold, joined, paragraph, table, table_of, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.knobs import command_line
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.latency.faults import findings
from workbench.questions.latency.faults.figures import accuracy_by_method
from workbench.questions.latency.faults.measure.fault_list import FAULTS, reason_against
from workbench.questions.latency.faults.rows import Episode, FaultsSamples, Score
from workbench.questions.latency.faults.spec import FaultsSpec
from workbench.questions.latency.findings.answers import shown
from workbench.telemetry.devices import chosen_device


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultsState(PanelState):
    """Choices of the fault panel: the load whose evidence is shown."""

    episode: int = knob(
        0, "Load in detail", "Load whose evidence is shown beside the plot, with its fault, dose and seed.", low=0
    )


class FaultsPanel(QuestionPanel):
    """Run injects faults into a server on this machine; suites of other machines are shown with their device."""

    title = gettext("How far can the diagnosis be trusted?")
    spec_class, state_class = FaultsSpec, FaultsState
    css_class = "wb-faults"
    cancelled_note = BEGINS_ANEW
    tab_titles = (gettext("Every load"), gettext("By fault and dose"))
    n_plots = 1
    duration = gettext("Press Run; one seed takes about twelve minutes.")

    def run_label(self, run: Run) -> str:
        """Return the name of a suite in the list of runs."""
        return findings.label(run)

    def command_lines(self, plan: FaultsSpec) -> str:
        """Return the commands that inject the faults and that list them."""
        return f"{command_line(plan.command, plan)}\nworkbench {plan.command} --list"

    def settled(self, state: FaultsState, changes: Mapping[str, object]) -> FaultsState:
        """Return the state with the first load where another run was chosen."""
        return replace(state, episode=0) if "run_id" in changes else state

    def choices(self) -> Mapping[str, list[tuple[str, object]]]:
        """Return the faults, and the loads of the shown run."""
        episodes = self.run.sampled(FaultsSamples).episodes if self.run else ()
        loads: list[tuple[str, object]] = [
            (
                gettext("{fault}, {dose}, seed {seed}").format(
                    fault=gettext(e.fault), dose=gettext(e.dose), seed=e.seed
                ),
                i,
            )
            for i, e in enumerate(episodes)
        ]
        return {"episode": loads or [("–", 0)], "faults": [(gettext(f.name), f.name) for f in FAULTS]}

    def unavailable(self) -> Mapping[str, Mapping[str, str]]:
        """Return the faults that this machine or this engine does not allow, with the reason."""
        engine, device = self.state.asked["engine"], chosen_device(self.state.asked["device"])
        reasons = {f.name: reason_against(f, engine=engine, is_gpu=device.kind == "cuda") for f in FAULTS}
        return {"faults": {name: shown(reason) for name, reason in reasons.items() if reason}}

    def view(self) -> AnswerView:
        """Return the scores of the suite, and the evidence of the chosen load."""
        run = self.run
        if run is None or not (samples := run.sampled(FaultsSamples)).episodes:
            return self.nothing_measured()
        scores, episodes = run.rows(Score), samples.episodes
        head, rows = findings.episode_table(episodes)
        return AnswerView(
            about=gettext("on {device}, {engine_version}, run {id}, {day}").format(
                device=run.environment.device,
                engine_version=samples.engine_version or gettext("torch engine"),
                id=run.id,
                day=run.day,
            ),
            answer=verdict_card(findings.verdict(run), is_stale=self.is_stale(run)),
            figures=(lambda: accuracy_by_method(scores),),
            beside=_detail(episodes[self.state.episode]),
            table=table_of(findings.SCORES, scores, highlighted=0),
            tabs=(
                table(head, rows, left=range(1, len(head))),
                table_of(findings.BY_FAULT, findings.by_fault(episodes), left=(1,)),
            ),
            run=run,
        )


def _detail(episode: Episode) -> Markup:
    answer = episode.answer
    head = (gettext("Evidence on: {cause}").format(cause=gettext(answer.causes[0])), gettext("evidence (−1 … 1)"))
    rows = [(shown(e.text), f"{e.score:+.2f}") for e in answer.evidence]
    truth = gettext(episode.cause) if episode.cause else gettext("healthy")
    symptoms = gettext("; ").join(map(shown, answer.symptoms)) or gettext("users notice no change")
    name = bold(findings.load_name(episode))
    return block(
        paragraph(
            joined(name, gettext(": {proof}. True cause: {truth}.").format(proof=shown(episode.proof), truth=truth))
        ),
        paragraph(gettext("Symptoms: {symptoms}.").format(symptoms=symptoms)),
        table(head, rows),
        kind="",
    )
