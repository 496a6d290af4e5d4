"""The panel that says which technique raises the throughput of this device, with the FAQ's claims compared with the measurements."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from workbench.catalog.models import model_spec_from
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.html import heading, joined, message_card, paragraph, table, table_of, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.shared_view import minute_of
from workbench.interface.view import AnswerView
from workbench.questions.utilization.techniques import findings
from workbench.questions.utilization.techniques.figures import gains, time_by_category
from workbench.questions.utilization.techniques.rows import Gain, NotMeasured, TechniquesSamples
from workbench.questions.utilization.techniques.spec import GRAPHS_NEED, TechniquesSpec
from workbench.telemetry.devices import gpu_devices


class TechniquesPanel(QuestionPanel):
    """Run measures each technique interleaved with going without it, then profiles three steps."""

    title = gettext("Which techniques raise its throughput?")
    spec_class = TechniquesSpec
    css_class = "wb-techniques"
    cancelled_note = BEGINS_ANEW
    tab_titles = (gettext("Largest operators"),)
    duration = gettext("Press Run; the measurement takes two minutes on two cores.")

    @cached_property
    def _has_gpu(self) -> bool:
        return bool(gpu_devices()[0])

    def unavailable(self) -> Mapping[str, Mapping[str, str]]:
        """Return the technique that needs a GPU, where none is used."""
        has_gpu = self._has_gpu and self.state.asked["device"] != "cpu"
        return {} if has_gpu else {"techniques": {"graphs": gettext("{text}.").format(text=gettext(GRAPHS_NEED))}}

    def check(self) -> None:
        """Raise ``NotAModel`` where the model is none, before a job is started."""
        model_spec_from(self.state.asked["model"])

    def run_label(self, run: Run) -> str:
        """Return model, work, device and time of a run."""
        spec = run.asked(TechniquesSpec)
        work = gettext("{model}, {batch} sequences of {context} tokens").format(
            model=Path(spec.model).name, batch=spec.batch, context=spec.context_tokens
        )
        return f"{work} · {run.environment.device} · {minute_of(run)}"

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None:
            return self.nothing_measured()
        verdict, samples = findings.verdict(run), run.sampled(TechniquesSamples)
        profiles, roof, not_measured = samples.profiles, samples.roof, run.row(NotMeasured)
        reason = not_measured.reason if not_measured else ""
        answer = message_card(
            "caution", gettext("No technique could be measured."), reason, gettext("Choose other techniques.")
        )
        if verdict:
            answer = verdict_card(verdict, is_stale=self.is_stale(run))
        operators = [paragraph(findings.roof_text(roof))]
        for name, p in profiles.items():
            operators.append(heading(findings.profile_title(name, p, roof), level=4))
            operators.append(table_of(findings.OPERATOR_COLUMNS, p.largest))
        return AnswerView(
            about=gettext("run {run}: {what}").format(run=run.id, what=self.run_label(run)),
            answer=answer,
            figures=(lambda: gains(run.rows(Gain), findings.claimed_gains()), lambda: time_by_category(profiles)),
            table=table(findings.TECHNIQUE_HEAD, findings.technique_rows(run), left=(5,)),
            tabs=(joined(*operators),),
            run=run,
        )
