"""The panel that says whether speculative decoding pays."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.interface.html import code_block, paragraph, table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.tuning.speculation import findings
from workbench.questions.tuning.speculation.figures import acceptance_by_text, speedup_by_batch
from workbench.questions.tuning.speculation.rows import Acceptance, SpeedUp, StepTime
from workbench.questions.tuning.speculation.spec import SpeculationSpec, check_models


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationState(PanelState):
    """What is shown of a run."""

    batch: int | None = knob(None, "Shown batch size", "Batch size that the answer is for.", choices={})
    draft: int | None = knob(None, "Shown draft tokens", "Number of draft tokens that the plots show.", choices={})


class SpeculationPanel(QuestionPanel):
    """Run measures acceptance and speed on this machine."""

    title = gettext("Does speculative decoding pay?")
    spec_class, state_class = SpeculationSpec, SpeculationState
    css_class = "wb-speculation"
    first = ("model",)
    tab_titles = (gettext("Acceptance"), gettext("Times of a step"), gettext("Server flags"))
    duration = gettext("Press Run; with the reference model it takes about five minutes on two cores.")

    def first_state(self, state: SpeculationState) -> SpeculationState:
        """Return the state with a batch size of the shown run."""
        return self.settled(state, {})

    def settled(self, state: SpeculationState, changes: Mapping[str, object]) -> SpeculationState:  # noqa: ARG002
        """Return the state with a batch size and a number of draft tokens that the shown run has."""
        run = self.run_of(state)
        rows = run.rows(SpeedUp) if run else []
        batches, drafts = {r.batch for r in rows}, {r.draft_tokens for r in rows}
        return replace(
            state,
            batch=state.batch if state.batch in batches else min(batches, default=None),
            draft=state.draft if state.draft in drafts else max(drafts, default=None),
        )

    def choices(self) -> Mapping[str, list[tuple[str, int | None]]]:
        """Return the batch sizes and numbers of draft tokens of the shown run."""
        rows = self.run.rows(SpeedUp) if self.run else []
        batches, drafts = sorted({r.batch for r in rows}), sorted({r.draft_tokens for r in rows})
        return {
            "batch": [(str(b), b) for b in batches] or [("–", None)],
            "draft": [(str(k), k) for k in drafts] or [("–", None)],
        }

    def check(self) -> None:
        """Raise ``NotAModel`` for a model or a draft model that cannot be read."""
        check_models(self.plan)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run, state = self.run, self.state
        if run is None or state.batch is None or state.draft is None:
            return self.nothing_measured()
        rows, batch, draft = run.rows(SpeedUp), state.batch, state.draft
        accepted, here = run.rows(Acceptance), [r for r in rows if r.batch == batch]
        best, flags = findings.best_at(rows, batch), findings.launch_flags(run, batch)
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(findings.verdict(run, batch), is_stale=self.is_stale(run)),
            figures=(
                lambda: speedup_by_batch(rows, draft_tokens=draft),
                lambda: acceptance_by_text(accepted, draft_tokens=draft),
            ),
            table=table_of(findings.SPEED_UP_COLUMNS, here, highlighted=here.index(best)),
            tabs=(
                lambda: table_of(findings.ACCEPTANCE_COLUMNS, accepted, left=(1,)),
                lambda: table_of(findings.TIME_COLUMNS, run.rows(StepTime), left=(1,)),
                code_block(flags)
                if flags
                else paragraph(gettext("Speculation does not pay here, so that no flag is needed.")),
            ),
            run=run,
        )
