"""The panels of adapters: what was measured on a server, and their memory on a device that need not be here."""

from functools import lru_cache

from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import code_block, table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.tuning.adapters import findings
from workbench.questions.tuning.adapters.figures import cache_by_rank, throughput_by_count, ttft_by_count
from workbench.questions.tuning.adapters.rows import AdapterLoad, AdapterServer
from workbench.questions.tuning.adapters.spec import AdapterMemorySpec, AdaptersSpec, check_adapters

answered_once = lru_cache(maxsize=64)(findings.adapter_memory)


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
            answer=verdict_card(findings.memory_verdict(answer)),
            figures=(lambda: cache_by_rank(answer),),
            table=table_of(findings.MEMORY_COLUMNS, answer.ranks),
        )
