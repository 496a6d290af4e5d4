"""The command that says whether a cache in the host's memory pays."""

from workbench.core.columns import cells_of
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.questions.tuning.offload.findings import (
    NUMBER_HEAD,
    POINT_COLUMNS,
    OffloadAnswer,
    offload_answer,
    offload_rows,
    verdict,
)
from workbench.questions.tuning.offload.spec import OffloadSpec


@computes(OffloadSpec, offload_answer)
def offload(answer: OffloadAnswer) -> None:
    """Say whether KV offload to host memory pays for a trace: reuse by cache size, loading against computing again."""
    for line in verdict(answer).lines:
        out.print(line)
    print_table(NUMBER_HEAD, offload_rows(answer))
    print_table(POINT_COLUMNS, cells_of(POINT_COLUMNS, answer.points))


COMMANDS = (offload,)
