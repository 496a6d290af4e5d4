"""The command that measures images in vLLM."""

from workbench.core.columns import cells_of
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.multimodal.findings import PART_COLUMNS, percent
from workbench.questions.multimodal.rows import BreakEven, cells
from workbench.questions.multimodal.spec import CACHES, ImagesSpec


@measures(ImagesSpec)
def images_measure(run: Run) -> None:
    """Measure TTFT with images in vLLM on this GPU, by part and with caches."""
    print_table(PART_COLUMNS, cells_of(PART_COLUMNS, cells(run)))
    for e in run.rows(BreakEven):
        measured, predicted = percent(e.hit_rate), percent(e.predicted_hit_rate)
        out.print(f"{CACHES[e.cache]}: the break-even hit rate is {measured} (predicted {predicted}).")
    for f in run.failures:
        out.print(f"{f} {f.remedy}")


COMMANDS = (images_measure,)
