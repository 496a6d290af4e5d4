"""The panel that says how many adapters fit on a device."""

from functools import lru_cache

from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.tuning.adapter_memory import findings
from workbench.questions.tuning.adapter_memory.figures import cache_by_rank
from workbench.questions.tuning.adapter_memory.spec import AdapterMemorySpec

answered_once = lru_cache(maxsize=64)(findings.adapter_memory)


class AdapterMemoryPanel(QuestionPanel):
    """Controls of the estimate, and its answer."""

    title = gettext("How many adapters fit on a device?")
    spec_class = AdapterMemorySpec
    css_class = "wb-adapter-memory"
    n_plots = 1

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        answer = answered_once(self.plan)
        return AnswerView(
            about=answer.about,
            provenance=Provenance.ESTIMATED,
            answer=verdict_card(findings.verdict(answer)),
            figures=(lambda: cache_by_rank(answer),),
            table=table_of(findings.MEMORY_COLUMNS, answer.ranks),
        )
