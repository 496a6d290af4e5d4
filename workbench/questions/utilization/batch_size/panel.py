"""The panel that finds the batch with the highest throughput under a limit on time and on memory."""

from workbench.catalog.models import model_spec_from
from workbench.core.language import gettext
from workbench.interface.html import message_card, table, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.shared_view import place_of
from workbench.interface.view import AnswerView
from workbench.questions.utilization.batch_size import findings
from workbench.questions.utilization.batch_size.figures import memory_by_batch, throughput_and_step
from workbench.questions.utilization.batch_size.rows import BatchTrial, by_batch
from workbench.questions.utilization.batch_size.spec import BatchSearchSpec


class BatchPanel(QuestionPanel):
    """Run searches on this machine."""

    title = gettext("Which batch size has the highest throughput?")
    spec_class = BatchSearchSpec
    css_class, is_tall = "wb-batch", True
    cancelled_note = BEGINS_ANEW
    tab_titles = (gettext("All trials"),)
    duration = gettext("Press Run; a search with the small model takes one to two minutes on two cores.")

    def check(self) -> None:
        """Raise ``NotAModel`` where the model is none, before a job is started."""
        model_spec_from(self.state.asked["model"])

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None:
            return self.nothing_measured()
        spec, choice, trials = run.asked(BatchSearchSpec), findings.choice_of(run), run.rows(BatchTrial)
        best, verdict = choice.best_batch, findings.verdict(run)
        highlighted = None if best is None else list(by_batch(trials)).index(best)
        cause = gettext("Not even one sequence fits {limits}.").format(limits=findings.limits(run))
        answer = message_card(
            "caution", gettext("No batch size is within the limits."), cause, gettext("Loosen the limit that binds.")
        )
        if verdict:
            answer = verdict_card(verdict, is_stale=self.is_stale(run))
        return AnswerView(
            about=gettext("{place}; {model}, {work}, {context} tokens of context").format(
                place=place_of(run), model=spec.model, work=spec.work, context=spec.context_tokens
            ),
            answer=answer,
            figures=(
                lambda: throughput_and_step(trials, best=best, latency_ms=spec.latency_ms, unit=findings.unit_of(run)),
                lambda: memory_by_batch(trials, limit_bytes=choice.memory_limit_bytes),
            ),
            table=table(findings.BATCH_HEAD, findings.batch_rows(run), highlighted=highlighted),
            tabs=(table(findings.TRIAL_HEAD, findings.trial_rows(run)),),
            run=run,
        )
