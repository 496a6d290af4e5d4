"""The command that measures how soon a replica in reserve answers."""

from workbench.core.columns import cells_of
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.surge.standby import findings
from workbench.questions.surge.standby.rows import StandbyState
from workbench.questions.surge.standby.spec import StandbySpec, check_standby


@measures(StandbySpec, check=check_standby)
def standby(run: Run) -> None:
    """Measure how soon a replica answers that is started from nothing, idle or asleep, and the memory that it holds while it waits."""
    for line in findings.verdict(run).lines:
        out.print(line)
    print_table(findings.COLUMNS, cells_of(findings.COLUMNS, run.rows(StandbyState)))
    print_table(findings.PART_COLUMNS, cells_of(findings.PART_COLUMNS, findings.times(run).values()))
    print_table(findings.START_COLUMNS, cells_of(findings.START_COLUMNS, findings.starts(run)))
    out.print(findings.for_the_simulation(run))


COMMANDS = (standby,)
