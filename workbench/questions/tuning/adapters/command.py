"""The command that measures what several adapters on one server cost."""

from workbench.core.columns import cells_of
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.tuning.adapters import findings
from workbench.questions.tuning.adapters.rows import AdapterLoad, AdapterServer
from workbench.questions.tuning.adapters.spec import AdaptersSpec, check_adapters


@measures(AdaptersSpec, can_resume=True, check=check_adapters)
def adapters(run: Run) -> None:
    """Measure what several LoRA adapters on one vLLM server cost: TTFT, TPOT and throughput by number, rank, slots and skew."""
    for line in findings.verdict(run).lines:
        out.print(line)
    print_table(findings.LOAD_COLUMNS, cells_of(findings.LOAD_COLUMNS, run.rows(AdapterLoad)))
    print_table(findings.SERVER_COLUMNS, cells_of(findings.SERVER_COLUMNS, run.rows(AdapterServer)))
    print_table(findings.TENANT_COLUMNS, cells_of(findings.TENANT_COLUMNS, findings.tenants(run)))


COMMANDS = (adapters,)
