"""The command that estimates drafts on a device that is not here."""

from workbench.core.columns import cells_of
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.questions.tuning.speculation_estimate.findings import (
    POINT_COLUMNS,
    SpeculationEstimate,
    estimated_speculation,
    verdict,
)
from workbench.questions.tuning.speculation_estimate.spec import SpeculationEstimateSpec


@computes(SpeculationEstimateSpec, estimated_speculation)
def speculation_estimate(answer: SpeculationEstimate) -> None:
    """Estimate what speculative decoding gains on a device of the catalogue, for an acceptance rate that you give."""
    for line in verdict(answer).lines:
        out.print(line)
    print_table(POINT_COLUMNS, cells_of(POINT_COLUMNS, answer.points))


COMMANDS = (speculation_estimate,)
