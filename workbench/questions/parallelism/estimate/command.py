"""The command that estimates one way to serve a model."""

from workbench.core.rows import plain
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.questions.parallelism.estimate.findings import (
    ESTIMATE_HEAD,
    Estimate,
    estimate_basis,
    estimate_rows,
    estimate_service,
)
from workbench.questions.parallelism.estimate.spec import EstimateSpec


@computes(EstimateSpec, estimate_service, plain)
def estimate(answer: Estimate) -> None:
    """Estimate latency, throughput and memory, with intervals."""
    print_table(ESTIMATE_HEAD, estimate_rows(answer.prediction))
    out.print(f"Precision: {answer.precision}.")
    if not answer.prediction.is_calibrated:
        out.print(f"Not calibrated: {estimate_basis(answer)}, so the intervals are wide.")
    if answer.memory_source is None:
        out.print(f"The memory of {answer.device} is its data sheet's; what its driver reports was not seen.")


COMMANDS = (estimate,)
