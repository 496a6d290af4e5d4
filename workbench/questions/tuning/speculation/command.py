"""The command that measures whether speculative decoding pays."""

from workbench.core.columns import cells_of
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.tuning.speculation import findings
from workbench.questions.tuning.speculation.rows import Acceptance, SpeedUp
from workbench.questions.tuning.speculation.spec import SpeculationSpec, check_models


@measures(SpeculationSpec, can_resume=True, check=check_models)
def speculation(run: Run) -> None:
    """Measure whether speculative decoding pays: acceptance by kind of text, time of drafts, speed-up by batch size."""
    rows = run.rows(SpeedUp)
    print_table(findings.ACCEPTANCE_COLUMNS, cells_of(findings.ACCEPTANCE_COLUMNS, run.rows(Acceptance)))
    print_table(findings.SPEED_UP_COLUMNS, cells_of(findings.SPEED_UP_COLUMNS, rows))
    for batch in sorted({r.batch for r in rows}):
        out.print(findings.verdict(run, batch).headline)


COMMANDS = (speculation,)
