"""The panel that says which server flags are best for a load."""

from workbench.catalog.models import model_spec_from
from workbench.core.rows import Json
from workbench.core.runs import Run
from workbench.interface.html import table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.tuning import findings
from workbench.questions.tuning.figures import front
from workbench.questions.tuning.rows import SettingResult, csv_rows
from workbench.questions.tuning.spec import TuneSpec


class TuningPanel(QuestionPanel):
    """Run simulates all settings and measures the promising ones."""

    title = "Which server settings are best for my load?"
    spec_class = TuneSpec
    css_class = "wb-tuning"
    n_plots = 1

    def check(self) -> None:
        """Raise where the model is none, before servers are started."""
        model_spec_from(self.plan.model)

    def csv_rows(self, run: Run) -> list[dict[str, Json]]:
        """Return a row for each setting."""
        return csv_rows(run)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None:
            return self.nothing_measured()
        results = run.rows(SettingResult)
        return AnswerView(
            answer=verdict_card(findings.verdict(run)),
            figures=(lambda: front(results),),
            table=table(findings.SETTING_HEAD, findings.setting_rows(run)),
            run=run,
        )
