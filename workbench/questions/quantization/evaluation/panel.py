"""The panel that compares quantized checkpoints and KV cache formats with the original model."""

from pathlib import Path

from workbench.catalog.formats import KV
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located
from workbench.core.errors import NotAModel
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.html import table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.quantization.evaluation import findings
from workbench.questions.quantization.evaluation.figures import divergence, retrieved_by_depth
from workbench.questions.quantization.evaluation.rows import candidates_of, per_byte_of
from workbench.questions.quantization.evaluation.spec import EvaluationSpec


class EvaluationPanel(QuestionPanel):
    """KL divergence, pass keys and completed lines of checkpoints and KV cache formats."""

    title = gettext("Does it still answer like the original?")
    spec_class = EvaluationSpec
    css_class = "wb-evaluation"
    duration = gettext("Choose checkpoints or KV cache formats and press Run.")

    def run_label(self, run: Run) -> str:
        """Return what was compared, and the run's usual name."""
        return f"{findings.what_was_compared(run)} · {super().run_label(run)}"

    def check(self) -> None:
        """Raise a ``WorkbenchError`` when the model or a candidate is no folder."""
        model_spec_from(self.plan.model)
        missing = [c for c in self.plan.candidates if not c.startswith(KV) and not Path(located(c)).is_dir()]
        if missing:
            raise NotAModel(
                gettext("{names}: no such folder.").format(names=", ".join(missing)),
                remedy=gettext("Name folders of checkpoints."),
            )

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None:
            return self.nothing_measured()
        rows, verdict = candidates_of(run), findings.evaluation_verdict(run)
        folders = [*(r.folder for r in rows), *(r.folder for r in per_byte_of(run))]
        labels = {folder: findings.candidate_label(folder) for folder in folders}
        with_keys = [r for r in rows if r.passkey_right_fraction_by_depth]
        context_tokens = run.asked(EvaluationSpec).passkey_tokens
        by_depth = (lambda: retrieved_by_depth(with_keys, labels=labels, context_tokens=context_tokens),)
        head, lines = findings.comparison(run)
        best = next(i for i, line in enumerate(lines) if line[0] == labels[str(verdict.best)])
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(verdict),
            figures=(
                *((lambda: divergence(rows, labels=labels),) if rows else ()),
                *(by_depth if with_keys else ()),
            ),
            table=table(head, lines, highlighted=best, left=(2,)),
            run=run,
        )
