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
    n_between = len(findings.TECHNIQUE_HEAD) - 2
    print_table(findings.TECHNIQUE_HEAD, (r if len(r) > 2 else (r[0], *n_between * "–", r[1]) for r in rows))


COMMANDS = (served_techniques,)
