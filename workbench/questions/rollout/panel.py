"""The panel of rollouts between two servers on this machine."""

from workbench.core.language import gettext
from workbench.interface.html import code_block, joined, paragraph, table, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.rollout.figures import course_of_rollouts, evidence_of_rollouts
from workbench.questions.rollout.findings import (
    EVIDENCE_HEAD,
    GATEWAY,
    RESULT_HEAD,
    evidence_rows,
    result_rows,
    verdict,
)
from workbench.questions.rollout.rows import RolloutResult, RolloutSamples
from workbench.questions.rollout.spec import RolloutSpec
from workbench.release.rule import MEASURES


class RolloutPanel(QuestionPanel):
    """Panel that measures rollouts between two servers of this machine."""

    title = gettext("How do I release a new model safely?")
    spec_class = RolloutSpec
    css_class = "wb-rollout"
    cancelled_note = BEGINS_ANEW
    duration = gettext("Press Run to measure; each rollout takes half a minute.")
    tab_titles = (gettext("Evidence"), gettext("Gateway configuration"))

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None or not run.results:
            return self.nothing_measured()
        rows, courses, spec = run.rows(RolloutResult), run.sampled(RolloutSamples).courses, run.asked(RolloutSpec)
        return AnswerView(
            about=gettext("on {device}, two torch engines behind the gateway, run {run}, {day}").format(
                device=run.environment.device, run=run.id, day=run.day
            ),
            answer=verdict_card(verdict(run)),
            figures=(
                lambda: course_of_rollouts(courses, first_share=spec.steps[0]),
                lambda: evidence_of_rollouts(courses, limit=len(MEASURES) / spec.alpha),
            ),
            table=table(RESULT_HEAD, result_rows(rows), left=(1, 2)),
            tabs=(
                joined(
                    table(EVIDENCE_HEAD, evidence_rows(rows)),
                    paragraph(
                        gettext(
                            "A new version is rolled back once the evidence of one measure exceeds 4 / alpha: each of the four measures has a quarter of alpha."
                        )
                    ),
                ),
                code_block(GATEWAY),
            ),
            run=run,
        )
