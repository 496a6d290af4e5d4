"""The panel that says what several adapters on one server cost."""

from workbench.core.language import gettext
from workbench.interface.html import code_block, table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.tuning.adapters import findings
from workbench.questions.tuning.adapters.figures import throughput_by_count, ttft_by_count
from workbench.questions.tuning.adapters.rows import AdapterLoad, AdapterServer
from workbench.questions.tuning.adapters.spec import AdaptersSpec, check_adapters


class AdaptersPanel(QuestionPanel):
    """Run starts vLLM with adapters on this machine."""

    title = gettext("What do several LoRA adapters on one server cost?")
    spec_class = AdaptersSpec
    css_class = "wb-adapters"
    first = ("model",)
    tab_titles = (gettext("Price of a tenant"), gettext("Memory"), gettext("Server flags"))
    duration = gettext("Press Run; with the reference model it takes about ten minutes on two cores.")

    def check(self) -> None:
        """Raise for a model or an adapter that is none, before servers are started."""
        check_adapters(self.plan)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None or not findings.loads(run):
            return self.nothing_measured()
        rows, loads = run.rows(AdapterLoad), findings.loads(run)
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(findings.verdict(run), is_stale=self.is_stale(run)),
            figures=(lambda: throughput_by_count(loads), lambda: ttft_by_count(loads)),
            table=table_of(
                findings.LOAD_COLUMNS, rows, highlighted=rows.index(findings.most_that_fit(loads)), left=(1,)
            ),
            tabs=(
                lambda: table_of(findings.TENANT_COLUMNS, findings.tenants(run)),
                lambda: table_of(findings.SERVER_COLUMNS, run.rows(AdapterServer)),
                code_block(findings.launch_flags(run)),
            ),
            run=run,
        )
