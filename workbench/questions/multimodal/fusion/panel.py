"""The panel of images with captions: fusion, missing modalities, routing, precision by tower, and two threads."""

from dataclasses import dataclass

from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.interface.html import joined, paragraph, table, table_of, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.multimodal.fusion import findings
from workbench.questions.multimodal.fusion.figures import accuracy_by_missing, ratios
from workbench.questions.multimodal.fusion.rows import (
    CorruptedInputs,
    DropoutGain,
    MissingImages,
    Precision,
    TwoThreads,
    times_by_label,
)
from workbench.questions.multimodal.fusion.spec import FusionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionState(PanelState):
    """Choices of what is shown of a run."""

    batch: str = knob("1", "Batch size shown", "Batch size of the plotted speed-ups.", choices={"1": "1", "64": "64"})


class FusionPanel(QuestionPanel):
    """Run measures the networks that ship with the workbench, or retrains them."""

    title = gettext("What does a missing modality cost?")
    spec_class, state_class = FusionSpec, FusionState
    css_class = "wb-fusion"
    cancelled_note = BEGINS_ANEW
    duration = gettext("Press Run; it takes half a minute.")
    tab_titles = (gettext("Corrupted inputs"), gettext("Routing"), gettext("Precision"), gettext("Two threads"))

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None:
            return self.nothing_measured()
        precision, parallel = run.rows(Precision), run.rows(TwoThreads)
        return AnswerView(
            about=gettext("with trained networks on digits with generated captions, on {cpu}, run {id}, {day}").format(
                cpu=run.environment.cpu, id=run.id, day=run.day
            ),
            answer=verdict_card(findings.verdict(run)),
            figures=(
                lambda: accuracy_by_missing(run.rows(MissingImages)),
                lambda: ratios(times_by_label(run), batch=int(self.state.batch)),
            ),
            table=table_of(findings.DROP_COLUMNS, run.rows(DropoutGain)),
            tabs=(
                lambda: table_of(findings.CORRUPTED_COLUMNS, run.rows(CorruptedInputs), left=(1, 2)),
                lambda: table(findings.ROUTING_HEAD, findings.routing_rows(run)),
                lambda: table_of(findings.precision_columns(precision), precision),
                lambda: joined(
                    paragraph(findings.TWO_THREADS), table_of(findings.parallel_columns(parallel), parallel)
                ),
            ),
            run=run,
        )
