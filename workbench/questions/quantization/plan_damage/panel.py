"""The panel of the calibration text that GPTQ needs, from runs with several amounts."""

from dataclasses import replace

from workbench.catalog.models import model_spec_from
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.html import verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.questions.quantization.plan_damage.figures import damage_by_calibration
from workbench.questions.quantization.plan_damage.findings import about, plan_label, verdict
from workbench.questions.quantization.plan_damage.rows import PlanDamage
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec

AMOUNTS = (0, 1, 2, 4, 8, 16, 32, 64)


class CalibrationPanel(QuestionPanel):
    """KL divergence over the amount of calibration text, with the amount that is enough."""

    title = gettext("How much calibration text does GPTQ need?")
    spec_class = PlanDamageSpec
    css_class = "wb-calibration"
    n_plots = 1
    duration = gettext("Press Run: about five minutes for the reference model on two cores.")

    def first_state(self, state: PanelState) -> PanelState:
        """Return the state that asks for a curve instead of one amount of text."""
        return replace(state, asked={**state.asked, "n_samples": AMOUNTS})

    def find_runs(self) -> list[Run]:
        """Return the runs that tried several amounts; others verify one plan."""
        return [r for r in super().find_runs() if len(r.results) > 2]

    def finished(self, view: JobView) -> None:
        """Show the new run, if it is a curve."""
        shown = self.state.run_id
        super().finished(view)
        if self.run is None:
            self.update(run_id=shown)

    def check(self) -> None:
        """Raise a ``WorkbenchError`` when there is no such model."""
        model_spec_from(self.plan.model)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None:
            return self.nothing_measured()
        return AnswerView(
            about=about(run),
            answer=verdict_card(verdict(run)),
            figures=(lambda: damage_by_calibration(run.rows(PlanDamage), plan_label=plan_label(run)),),
            run=run,
        )
