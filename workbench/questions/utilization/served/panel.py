"""The panel that says which techniques of a serving engine raise the utilization of the device, beside what the FAQ claims."""

from collections.abc import Mapping
from functools import cached_property

from workbench.catalog.models import require_folder
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.html import code_block, message_card, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.utilization.served import findings
from workbench.questions.utilization.served.figures import throughput, utilization
from workbench.questions.utilization.served.rows import NotServed, ServedGain
from workbench.questions.utilization.served.spec import ON_A_PROCESSOR, ServedTechniquesSpec
from workbench.telemetry.devices import gpu_devices


class ServedTechniquesPanel(QuestionPanel):
    """Run launches vLLM with and without each technique on this machine, and sends all of them the same loads."""

    title = gettext("Which techniques raise the utilization of a served model?")
    spec_class = ServedTechniquesSpec
    css_class = "wb-served-techniques"
    first = ("model", "techniques")
    tab_titles = (gettext("Server flags"),)
    duration = gettext("Press Run; with the reference model it takes about three minutes on two cores.")

    @cached_property
    def _has_gpu(self) -> bool:
        return bool(gpu_devices()[0])

    def unavailable(self) -> Mapping[str, Mapping[str, str]]:
        """Return the techniques that need a GPU, where none is used."""
        has_gpu = self._has_gpu and self.state.asked["device"] != "cpu"
        reasons = {name: gettext("{text}.").format(text=gettext(why)) for name, why in ON_A_PROCESSOR.items()}
        return {} if has_gpu else {"techniques": reasons}

    def check(self) -> None:
        """Raise for a model that is none, before servers are launched."""
        require_folder(self.state.asked["model"])

    def run_label(self, run: Run) -> str:
        """Return model, load and device of a run."""
        return findings.about(run)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None:
            return self.nothing_measured()
        rows, verdict, missing = run.rows(ServedGain), findings.verdict(run), run.row(NotServed)
        answer = message_card(
            "caution",
            gettext("No technique could be measured."),
            gettext(missing.reason) if missing else "",
            gettext("Choose other techniques."),
        )
        if verdict:
            answer = verdict_card(verdict, is_stale=self.is_stale(run))
        return AnswerView(
            about=findings.about(run),
            answer=answer,
            figures=(
                lambda: utilization(rows, findings.claimed_utilization()),
                lambda: throughput(rows),
            ),
            table=table(findings.TECHNIQUE_HEAD, findings.technique_rows(run)),
            tabs=(lambda: code_block(findings.launches_text(run)),),
            run=run,
        )
