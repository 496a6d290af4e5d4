"""The panel that says whether to split prefill and decode."""

from functools import lru_cache

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import message_card, table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.tuning.split import findings
from workbench.questions.tuning.split.figures import gain_by_bandwidth, gain_by_ratio
from workbench.questions.tuning.split.spec import SplitSpec

answered_once = lru_cache(maxsize=32)(findings.split_answer)


class SplitPanel(QuestionPanel):
    """Controls of the simulation, and its answer."""

    title = gettext("Do prefill and decode on separate devices pay?")
    spec_class = SplitSpec
    css_class = "wb-split"
    tab_titles = (gettext("Gain by bandwidth"),)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        try:
            answer = answered_once(self.plan)
        except NotAvailable as error:
            return AnswerView(
                answer=message_card("caution", gettext("Nothing is known of the link."), error.cause, error.remedy)
            )
        said, names = findings.verdict(answer), [r.label for r in answer.ratios]
        return AnswerView(
            about=answer.about,
            provenance=Provenance.SIMULATED,
            answer=verdict_card(said),
            figures=(lambda: gain_by_ratio(answer), lambda: gain_by_bandwidth(answer)),
            table=table_of(findings.RATIO_COLUMNS, answer.ratios, highlighted=names.index(said.best or names[0])),
            tabs=(lambda: table_of(findings.BANDWIDTH_COLUMNS, answer.bandwidths),),
        )
