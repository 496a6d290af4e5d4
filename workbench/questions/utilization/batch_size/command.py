"""The command that finds the batch with the highest throughput within limits."""

from workbench.catalog.models import model_spec_from
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.utilization.batch_size.findings import TRIAL_HEAD, trial_rows
from workbench.questions.utilization.batch_size.rows import BatchChoice
from workbench.questions.utilization.batch_size.spec import BatchSearchSpec


@measures(BatchSearchSpec, check=lambda spec: model_spec_from(spec.model))
def batch_size(run: Run) -> None:
    """Find the batch size with the highest throughput within limits on step time and memory."""
    print_table(TRIAL_HEAD, trial_rows(run))
    choice = run.row(BatchChoice)
    out.print(f"● best batch size: {choice.best_batch if choice else None}")


COMMANDS = (batch_size,)
