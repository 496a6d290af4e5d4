"""The panel that says whether a cache in the host's memory pays."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import message_card, table, table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.tuning.offload import findings
from workbench.questions.tuning.offload.figures import reuse_by_size, saved_by_bandwidth
from workbench.questions.tuning.offload.spec import OffloadSpec

answered_once = lru_cache(maxsize=32)(findings.offload_answer)
FIRST_BYTES_PER_S = 50e9
"""What the panel opens with: most of PCIe 5.0 x16's 63 GB/s in one direction."""


class OffloadPanel(QuestionPanel):
    """Controls of the estimate, and its answer."""

    title = gettext("Does KV offload to host memory pay?")
    spec_class = OffloadSpec
    css_class = "wb-offload"
    tab_titles = (gettext("Reuse by cache size"),)

    def first_state(self, state: Any) -> Any:
        """Return the state with a bandwidth to begin with."""
        return replace(
            state, asked={**state.asked, "host_bytes_per_s": state.asked["host_bytes_per_s"] or FIRST_BYTES_PER_S}
        )

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        try:
            answer = answered_once(self.plan)
        except NotAvailable as error:
            return AnswerView(
                answer=message_card("caution", gettext("Nothing is known of the link."), error.cause, error.remedy)
            )
        return AnswerView(
            about=answer.about,
            provenance=Provenance.ESTIMATED,
            answer=verdict_card(findings.verdict(answer)),
            figures=(lambda: reuse_by_size(answer), lambda: saved_by_bandwidth(answer)),
            table=table(findings.NUMBER_HEAD, findings.offload_rows(answer)),
            tabs=(lambda: table_of(findings.POINT_COLUMNS, answer.points),),
        )
