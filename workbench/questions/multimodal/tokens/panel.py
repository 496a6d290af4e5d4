"""The calculator of an image's tokens, memory, time and price."""

from collections.abc import Mapping

from workbench.catalog.vision import vision_model, vision_models
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import message_card, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.multimodal.tokens import findings
from workbench.questions.multimodal.tokens.figures import tokens_by_size
from workbench.questions.multimodal.tokens.spec import FAMILIES, ImageCostSpec

N_DRAWN = 6


class ImageCostPanel(QuestionPanel):
    """A calculator that answers at once; nothing is measured."""

    title = gettext("What does an image cost?")
    spec_class = ImageCostSpec
    css_class = "wb-tokens"
    n_plots = 1
    tab_titles = (gettext("All models"),)

    def choices(self) -> Mapping[str, list[str]]:
        """Return the models whose processors are known."""
        return {"model": list(vision_models())}

    def view(self) -> AnswerView:
        """Return the answer to the state, or why the processor refuses the image."""
        try:
            spec = self.plan
            answer, rows = verdict_card(findings.verdict(spec)), findings.cost_rows(spec)
        except WorkbenchError as error:
            return AnswerView(answer=message_card("failure", gettext("Not possible."), error.cause, error.remedy))
        models = list(dict.fromkeys([spec.model, *FAMILIES]))[:N_DRAWN]
        lines = {m.split("/")[-1]: findings.tokens_by_side(m) for m in models}
        return AnswerView(
            about=gettext("as the model's processor does; {source}").format(source=vision_model(spec.model).source),
            provenance=Provenance.ESTIMATED,
            answer=answer,
            figures=(lambda: tokens_by_size(findings.SIDES, lines, shown=0),),
            table=table(findings.COST_HEAD, rows, left=(1,)),
            tabs=(lambda: table(findings.MODEL_HEAD, findings.model_rows(spec.size)),),
        )
