"""The panel that estimates drafts on a device that is not here."""

from functools import lru_cache

from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.tuning.speculation_estimate import findings
from workbench.questions.tuning.speculation_estimate.figures import estimated_speedup
from workbench.questions.tuning.speculation_estimate.spec import SpeculationEstimateSpec

estimated_once = lru_cache(maxsize=64)(findings.estimated_speculation)


class SpeculationEstimatePanel(QuestionPanel):
    """Controls of the estimate, and its answer."""

    title = gettext("Would drafts pay on another device?")
    spec_class = SpeculationEstimateSpec
    css_class = "wb-speculation-estimate"
    n_plots = 1

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        answer = estimated_once(self.plan)
        return AnswerView(
            about=answer.about,
            provenance=Provenance.ESTIMATED,
            answer=verdict_card(findings.verdict(answer)),
            figures=(lambda: estimated_speedup(answer),),
            table=table_of(findings.POINT_COLUMNS, answer.points),
        )
