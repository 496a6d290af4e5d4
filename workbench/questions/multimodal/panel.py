"""The panel of TTFT with images in vLLM, by part and with caches."""

from dataclasses import dataclass

from markupsafe import Markup

from workbench.catalog.paths import MEASURED
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.interface.html import code_block, joined, paragraph, table, table_of, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.shared_view import runs_of_kind
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.multimodal import findings
from workbench.questions.multimodal.figures import time_by_hit_rate, ttft_parts
from workbench.questions.multimodal.rows import BreakEven, Stream, cells
from workbench.questions.multimodal.spec import ImagesSpec

CACHE_NOTE = gettext(
    "The measured hit rate comes from streams of hits and misses, the predicted one from requests that all miss "
    "or all hit. By hash time alone: the rate if a miss cost no more than the time of a hash."
)
LOAD_COMMAND = "workbench load URL --endpoint chat --images 1 --image-sizes 448x448:3,896x1344:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesState(PanelState):
    """Choices of what is shown of a measurement with images."""

    only_held_out: bool = knob(False, "Only held-out sizes", "Show only sizes that the prediction was not fitted to.")


class ImagesPanel(QuestionPanel):
    """Run measures vLLM with images on this machine's GPU."""

    title = gettext("What are the parts of TTFT, and when does an image cache pay?")
    spec_class, state_class = ImagesSpec, ImagesState
    css_class = "wb-images"
    cancelled_note = BEGINS_ANEW
    duration = gettext("Press Run; the measurement needs a GPU and vLLM, and takes eight minutes.")
    tab_titles = (gettext("Caches"), gettext("Prediction errors"), gettext("Under load"))

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None or not cells(run):
            return self.nothing_measured()
        held_out, evens = [c for c in cells(run) if c.is_held_out], run.rows(BreakEven)
        shown = held_out if self.state.only_held_out else cells(run)
        return AnswerView(
            about=gettext(
                "on {device}, vLLM {version}, random weights of the shape {model}: times are real, answers mean nothing; run "
                "{id}, {day}"
            ).format(
                device=run.environment.device,
                version=run.environment.packages.get("vllm", ""),
                model=run.asked(ImagesSpec).model.split("/")[-1],
                id=run.id,
                day=run.day,
            ),
            answer=verdict_card(findings.verdict(run)),
            figures=(
                lambda: ttft_parts([c for c in shown if c.n_images == 1]),
                lambda: time_by_hit_rate(run.rows(Stream), evens),
            ),
            table=table_of(findings.PART_COLUMNS, shown),
            tabs=(
                joined(
                    paragraph(CACHE_NOTE),
                    table_of(findings.BREAK_EVEN_COLUMNS, evens),
                    table_of(findings.HIT_RATE_COLUMNS, run.rows(Stream)),
                ),
                lambda: table_of(findings.ERROR_COLUMNS, held_out),
                self._served,
            ),
            run=run,
        )

    def _served(self) -> Markup:
        loads = runs_of_kind("load", store=self.manager.store, shipped=MEASURED / "images")
        return joined(table(findings.SERVED_HEAD, findings.served_rows(loads)), code_block(LOAD_COMMAND))
