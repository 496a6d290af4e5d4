"""The command that says whether to split prefill and decode."""

from workbench.core.columns import cells_of
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.questions.tuning.split.findings import (
    BANDWIDTH_COLUMNS,
    RATIO_COLUMNS,
    SplitAnswer,
    split_answer,
    verdict,
)
from workbench.questions.tuning.split.spec import SplitSpec


@computes(SplitSpec, split_answer)
def split(answer: SplitAnswer) -> None:
    """Say whether prefill and decode on separate devices pay: which ratio, and from which link bandwidth on."""
    for line in verdict(answer).lines:
        out.print(line)
    print_table(RATIO_COLUMNS, cells_of(RATIO_COLUMNS, answer.ratios))
    print_table(BANDWIDTH_COLUMNS, cells_of(BANDWIDTH_COLUMNS, answer.bandwidths))


COMMANDS = (split,)
