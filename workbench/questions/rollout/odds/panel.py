"""The panel of how often rollback rules err."""

from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import paragraph, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.rollout.odds.figures import rollbacks_by_rule
from workbench.questions.rollout.odds.findings import METHOD, N_ROLLOUTS, RULE_HEAD, rule_report, rule_rows, verdict
from workbench.questions.rollout.odds.spec import OddsSpec


class OddsPanel(QuestionPanel):
    """Panel of simulated rollouts, computed without a run."""

    title = gettext("How often does a rollback rule err?")
    spec_class = OddsSpec
    css_class = "wb-odds"
    n_plots = 1
    tab_titles = (gettext("Method"),)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        spec = self.plan
        report = rule_report(spec)
        return AnswerView(
            about=gettext("with {n} simulated rollouts each").format(n=N_ROLLOUTS),
            provenance=Provenance.SIMULATED,
            answer=verdict_card(verdict(report, spec)),
            figures=(lambda: rollbacks_by_rule(report),),
            table=table(RULE_HEAD, rule_rows(report), highlighted=0),
            tabs=(paragraph(METHOD),),
        )
