"""The command that measures what structured output costs and gives."""

from workbench.core.columns import cells_of
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.tuning.structured import findings
from workbench.questions.tuning.structured.rows import AnswersOfKind
from workbench.questions.tuning.structured.spec import StructuredSpec, check_structured


@measures(StructuredSpec, can_resume=True, check=check_structured)
def structured(run: Run) -> None:
    """Measure what a JSON schema or tools cost and give against plain answers: valid share, the first request, TTFT and TPOT."""
    for line in findings.verdict(run).lines:
        out.print(line)
    print_table(findings.ANSWER_COLUMNS, cells_of(findings.ANSWER_COLUMNS, run.rows(AnswersOfKind)))
    _, _, cost = findings.parts(run)
    print_table(findings.COST_COLUMNS, cells_of(findings.COST_COLUMNS, findings.cost_rows(cost)))


COMMANDS = (structured,)
