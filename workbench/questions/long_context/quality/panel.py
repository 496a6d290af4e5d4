"""The panel that shows where in a long text facts are still retrieved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import plotly.graph_objects as go

from workbench.core.columns import Columns
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.units import NOT_KNOWN
from workbench.interface.html import joined, small, table_of, verdict_card, with_interval
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.long_context.quality import findings
from workbench.questions.long_context.quality.figures import divergence_by_position, heat_map
from workbench.questions.long_context.quality.rows import (
    TextStretch,
    VariantResult,
    label_of,
    labels_of,
    retrieval_rows,
)
from workbench.questions.long_context.quality.spec import FULL, ContextQualitySpec, check_lengths

VARIANT_COLUMNS: Columns[VariantResult] = {
    gettext("Variant ●"): label_of,
    gettext("correct answers"): lambda r: joined(
        with_interval(r.right_fraction, 100, " %"), small(gettext(" of {n}").format(n=r.n))
    ),
    gettext("lost / won"): lambda r: f"{r.against_full.lost} / {r.against_full.won}" if r.against_full else NOT_KNOWN,
    gettext("p (McNemar)"): lambda r: f"{r.against_full.mcnemar_p:.2g}" if r.against_full else NOT_KNOWN,
    gettext("Δ NLL of answers, nat/token"): lambda r: with_interval(
        r.against_full.answer_nll_change_nat_per_token if r.against_full else None, sign=True
    ),
    gettext("KL, nat/token"): lambda r: with_interval(r.mean_kl_nat_per_token),
    gettext("perplexity"): lambda r: NOT_KNOWN if r.perplexity is None else f"{r.perplexity:.3f}",
}
"""Of a variant; lost and won are answers against full attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityState(PanelState):
    """What is shown of a run."""

    task: str | None = knob(None, "Task", "Task that the heat map shows.", choices={})
    variant: str | None = knob("window:1024", "Shown variant", "Variant that the heat map shows.", choices={})


class ContextQualityPanel(QuestionPanel):
    """Heat maps of retrieval by depth and length, and divergence by position."""

    title = gettext("Does the model still retrieve facts from it?")
    spec_class, state_class = ContextQualitySpec, QualityState
    css_class, is_tall = "wb-quality", True
    duration = gettext("Press Run; with the settings given it takes several minutes on a processor.")

    def first_run_id(self) -> str | None:
        """Return the run with the most rows."""
        largest = max(self.runs, key=lambda r: len(r.results), default=None)
        return largest.id if largest else None

    def first_state(self, state: QualityState) -> QualityState:
        """Return the state with a task and a variant of the shown run."""
        return self.settled(state, {})

    def settled(self, state: QualityState, changes: Mapping[str, object]) -> QualityState:  # noqa: ARG002
        """Return the state with a task and a variant that the shown run has."""
        run = self.run_of(state)
        tasks, names = (list(run.asked(ContextQualitySpec).tasks), list(labels_of(run))) if run else ([None], [None])
        task = state.task if state.task in tasks else tasks[0]
        first = next((n for n in names if n != FULL), names[0])
        return replace(state, task=task, variant=state.variant if state.variant in names else first)

    def choices(self) -> Mapping[str, list[tuple[str, str]]]:
        """Return the tasks and variants of the shown run."""
        if self.run is None:
            return {}
        variants = [(label, name) for name, label in labels_of(self.run).items()]
        return {"task": [(t, t) for t in self.run.asked(ContextQualitySpec).tasks], "variant": variants}

    def check(self) -> None:
        """Raise a ``WorkbenchError`` for a model that cannot be read, or lengths beyond its own."""
        check_lengths(self.plan)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run, state = self.run, self.state
        if run is None:
            return self.nothing_measured()
        labels, positions, answer = labels_of(run), run.rows(TextStretch), findings.verdict(run)
        cells = retrieval_rows(run, variant=state.variant, task=state.task)
        title = gettext("Retrieval with {variant}").format(variant=labels[state.variant])
        best = next((i for i, name in enumerate(labels) if name == answer.best), None)
        window = findings.window_of(state.variant)
        figures: list[Callable[[], go.Figure]] = [lambda: heat_map(cells, title=title, window_tokens=window)]
        if positions:
            figures.append(lambda: divergence_by_position(positions, labels=labels, chosen=state.variant, base=FULL))
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(answer),
            figures=tuple(figures),
            table=table_of(VARIANT_COLUMNS, run.rows(VariantResult), highlighted=best),
            run=run,
        )
