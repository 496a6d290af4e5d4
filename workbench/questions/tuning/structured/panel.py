"""The panel that says what structured output costs and gives."""

from workbench.core.language import gettext
from workbench.interface.html import code_block, table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.tuning.structured import findings
from workbench.questions.tuning.structured.figures import cost_of_schema, valid_by_kind
from workbench.questions.tuning.structured.rows import AnswersOfKind, StructureCost
from workbench.questions.tuning.structured.spec import StructuredSpec, check_structured


class StructuredPanel(QuestionPanel):
    """Run starts an engine on this machine, and asks with the schema and without."""

    title = gettext("What does structured output cost, and does it pay?")
    spec_class = StructuredSpec
    css_class = "wb-structured"
    first = ("model",)
    tab_titles = (gettext("Costs"), gettext("Field of the request"))
    duration = gettext("Press Run; with the reference model it takes about five minutes on two cores.")

    def check(self) -> None:
        """Raise for a model or a schema that is none, before an engine is started."""
        check_structured(self.plan)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None or run.row(StructureCost) is None:
            return self.nothing_measured()
        rows, (_, _, cost) = run.rows(AnswersOfKind), findings.parts(run)
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(findings.verdict(run), is_stale=self.is_stale(run)),
            figures=(lambda: valid_by_kind(rows), lambda: cost_of_schema(cost)),
            table=table_of(findings.ANSWER_COLUMNS, rows),
            tabs=(
                lambda: table_of(findings.COST_COLUMNS, findings.cost_rows(cost)),
                code_block(findings.request_field(run)),
            ),
            run=run,
        )
