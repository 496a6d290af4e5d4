"""The command that measures what techniques of a serving engine do for the use of the device."""

from workbench.catalog.models import require_folder
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.utilization.served import findings
from workbench.questions.utilization.served.spec import ServedTechniquesSpec


def _check(spec: ServedTechniquesSpec) -> None:
    require_folder(spec.model)


@measures(ServedTechniquesSpec, can_resume=True, check=_check)
def served_techniques(run: Run) -> None:
    """Serve a model with and without asynchronous scheduling, operator fusion and a memory pool: utilization, tokens/s, TPOT."""
    if verdict := findings.verdict(run):
        for line in verdict.lines:
            out.print(line)
    rows = findings.technique_rows(run)
    if measured := [r for r in rows if len(r) == len(findings.TECHNIQUE_HEAD)]:
        print_table(findings.TECHNIQUE_HEAD, measured)
    for label, reason in (r for r in rows if len(r) == 2):
        out.print(f"{label}: {reason}", highlight=False)


COMMANDS = (served_techniques,)
