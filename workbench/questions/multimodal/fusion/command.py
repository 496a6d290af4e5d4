"""The command that measures images with captions."""

from workbench.core.columns import cells_of
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.questions.multimodal.fusion.findings import DROP_COLUMNS, SPEEDUP_HEAD, speedup_rows
from workbench.questions.multimodal.fusion.rows import DropoutGain
from workbench.questions.multimodal.fusion.spec import FusionSpec


@measures(FusionSpec)
def fusion(run: Run) -> None:
    """Measure the fusion of images with captions: missing modalities, routing, precision by tower, and two threads."""
    print_table(DROP_COLUMNS, cells_of(DROP_COLUMNS, run.rows(DropoutGain)))
    print_table(SPEEDUP_HEAD, speedup_rows(run))


COMMANDS = (fusion,)
