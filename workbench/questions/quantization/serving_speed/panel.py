"""The panel of vLLM's speed in each precision on a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from workbench.calibrate.serving_speed.rows import with_roofline
from workbench.calibrate.serving_speed.spec import OFFERED, ServingSpeedSpec
from workbench.catalog.models import model_spec_from
from workbench.catalog.served import Served
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.engines.environments import require
from workbench.estimate.rows import StepCell, StepTime
from workbench.interface.html import code_block, joined, paragraph, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.theme import styles_of
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.quantization.serving_speed import findings
from workbench.questions.quantization.serving_speed.figures import gain_over_plain, time_per_token
from workbench.telemetry.devices import chosen_device


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedState(PanelState):
    """Context length and batch size of the shown cell."""

    context_tokens: int = knob(
        1024, "Context length", "Number of prompt tokens of each sequence in the shown cells.", unit="tokens"
    )
    batch: int = knob(1, "Decode batch size", "Number of sequences that are decoded together in the shown cell.")


class ServingSpeedPanel(QuestionPanel):
    """Steps of vLLM by precision, batch and context; the runs of a GPU ship with the workbench."""

    title = gettext("What does each precision buy in vLLM?")
    spec_class, state_class = ServingSpeedSpec, SpeedState
    css_class = "wb-speed"
    duration = gettext("Press Run on a machine with vLLM.")
    tab_titles = (gettext("Launch command"), gettext("All cells"))

    def first_state(self, state: SpeedState) -> SpeedState:
        """Return the state with the precisions and a cell of the newest run."""
        return self.settled(state, {"run_id": state.run_id})

    def settled(self, state: SpeedState, changes: Mapping[str, object]) -> SpeedState:
        """Return the state with precisions and cells of the shown run."""
        if "run_id" in changes and (run := self.run_of(state)):
            state = replace(state, asked={**state.asked, "served": run.asked(ServingSpeedSpec).served})
        contexts, _ = self._cells(state)
        if contexts and state.context_tokens not in contexts:
            state = replace(state, context_tokens=contexts[0])
        _, batches = self._cells(state)
        return state if not batches or state.batch in batches else replace(state, batch=batches[0])

    def _cells(self, state: SpeedState) -> tuple[list[int], list[int]]:
        """Return the context lengths of the shown run, and the batch sizes at the chosen one."""
        run = self.run_of(state)
        cells = [(r.context_tokens, r.batch) for r in run.rows(StepCell)] if run else []
        return sorted({c for c, _ in cells}), sorted({b for c, b in cells if c == state.context_tokens})

    def choices(self) -> Mapping[str, list[tuple[str, object]]]:
        """Return the cells of the shown run."""
        contexts, batches = self._cells(self.state)
        offered = {"context_tokens": contexts or [self.state.context_tokens], "batch": batches or [self.state.batch]}
        return {name: [(str(n), n) for n in numbers] for name, numbers in offered.items()}

    def check(self) -> None:
        """Raise a ``WorkbenchError`` when there is no such model, or no vLLM."""
        model_spec_from(self.plan.model)
        require("vllm", device=chosen_device("auto").kind)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run, state = self.run, self.state
        if run is None:
            return self.nothing_measured()
        left_out = set(OFFERED) - set(ServingSpeedSpec.stored(state.asked).served)
        shown = replace(run, results=[r for r in with_roofline(run) if r.served not in left_out])
        batch, context, served = state.batch, state.context_tokens, run.asked(ServingSpeedSpec).served
        at_context = [r for r in shown.rows(StepTime) if r.context_tokens == context]
        verdict, styles = findings.speed_verdict(shown, batch=batch, context_tokens=context), styles_of(served)
        labels = {s: gettext(Served.read(s).label) for s in served}
        head, lines = findings.cell_table(shown, batch=batch, context_tokens=context)
        best = next((i for i, line in enumerate(lines) if verdict.best and line[0] == labels[verdict.best]), None)
        gains = findings.gains(shown, context_tokens=context)
        explained = gettext("● Time per output token in ms (median) · ◌ share of it that the roofline accounts for.")
        launch = (
            code_block(findings.launch_commands(run, verdict.best)) if verdict.best else paragraph(verdict.headline)
        )
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(verdict),
            figures=(
                lambda: time_per_token(at_context, context_tokens=context, styles=styles, best=verdict.best),
                lambda: gain_over_plain(gains, labels=labels, styles=styles),
            ),
            table=table(head, lines, highlighted=best),
            tabs=(launch, joined(paragraph(explained), table(*findings.all_cells(shown)))),
            run=run,
        )
