"""The panel that shows which attention is fastest at which length, and what it costs in memory and quality."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import plotly.graph_objects as go
from markupsafe import Markup

from workbench.attention.reasons import shown_reason
from workbench.attention.rows import MissingCell
from workbench.catalog.attention_techniques import TECHNIQUES
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.html import hint, joined, paragraph, table, table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.shared_view import runs_of_kind
from workbench.interface.theme import styles_of
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.long_context.attention import findings
from workbench.questions.long_context.attention.figures import ceiling_share, retrieval_by_length, time_and_memory
from workbench.questions.long_context.attention.rows import (
    AnyCell,
    latest_cells,
    measured_cells,
    measured_lengths,
    same_place,
)
from workbench.questions.long_context.attention.spec import TECHNIQUE_LABELS, TECHNIQUE_NOTES, AttentionSpec
from workbench.questions.long_context.quality.rows import Retrieval, VariantResult, labels_of
from workbench.questions.long_context.quality.spec import ContextQualitySpec

FIRST = ("flash", "cudnn", "fa3", "math", "query-chunked", "window", "window-flex", "block-sparse-flex")
"""Shown at first, where they were measured."""
FIRST_TOKENS = 131072
SECOND_PLOTS = {"ceiling": gettext("share of the ceiling"), "retrieval": gettext("retrieval by length")}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionState(PanelState):
    """What is shown of the cells of one device."""

    phase: Literal["prefill", "decode"] = knob("prefill", "Phase", "Phase of inference that is compared.")
    length_tokens: int | None = knob(
        None, "Context length", "Measured context length that is compared.", unit="tokens", choices={}
    )
    shown: tuple[str, ...] = knob(
        FIRST,
        "Techniques shown",
        "Techniques that the verdict, the plots and the table compare.",
        choices=TECHNIQUE_LABELS,
    )
    second_plot: str = knob("ceiling", "Second plot", "Quantity that the second plot shows.", choices=SECOND_PLOTS)


class AttentionPanel(QuestionPanel):
    """Techniques over length on one device; all its runs together, the newest measurement of each cell."""

    title = gettext("Which attention for which length?")
    spec_class, state_class = AttentionSpec, AttentionState
    css_class, is_tall = "wb-attention", True
    tab_titles = (gettext("Quality"), gettext("All cells"))
    duration = gettext("Press Run; on a processor it takes a few minutes.")

    def find_runs(self) -> list[Run]:
        """Return the newest run of each model and device, which stands for all of them."""
        self.all_runs = super().find_runs()
        quality = runs_of_kind(ContextQualitySpec.kind, store=self.manager.store, shipped=MEASURED)
        self.quality = max(quality, key=lambda r: len(r.results), default=None)
        return [r for r in self.all_runs if same_place(self.all_runs, r)[0] is r]

    def first_run_id(self) -> str | None:
        """Return the first run of a GPU, or of any device."""
        first = next((r for r in self.runs if r.environment.device_id != "cpu"), next(iter(self.runs), None))
        return first.id if first else None

    def first_state(self, state: AttentionState) -> AttentionState:
        """Return the state with what was measured of the first techniques."""
        return self.settled(state, {"run_id": state.run_id})

    def _cells(self, state: AttentionState) -> list[AnyCell]:
        run = self.run_of(state)
        return latest_cells(same_place(self.all_runs, run)) if run else []

    def settled(self, state: AttentionState, changes: Mapping[str, object]) -> AttentionState:
        """Return the state with lengths and techniques that were measured at the shown place."""
        cells = self._cells(state)
        if not cells:
            return state
        if "run_id" in changes:
            measured = {r.technique for r in measured_cells(cells)}
            state = replace(state, shown=tuple(t for t in FIRST if t in measured) or tuple(sorted(measured)))
        lengths = measured_lengths(cells, phase=state.phase)
        if state.length_tokens not in lengths and lengths:
            target = state.length_tokens or FIRST_TOKENS
            state = replace(state, length_tokens=min(lengths, key=lambda n: abs(n - target)))
        return state

    def choices(self) -> Mapping[str, list[tuple[str, int | None]]]:
        """Return the lengths that were measured at the shown place."""
        lengths = measured_lengths(self._cells(self.state), phase=self.state.phase)
        return {"length_tokens": [(str(n), n) for n in lengths] or [("–", None)]}

    def unavailable(self) -> Mapping[str, Mapping[str, str]]:
        """Return the techniques of which nothing was measured at the shown place, with the reason."""
        cells = self._cells(self.state)
        reasons = {r.technique: shown_reason(r.reason) for r in cells if isinstance(r, MissingCell)}
        measured = {r.technique for r in measured_cells(cells)}
        missing = [t for t in TECHNIQUES if cells and t not in measured]
        return {"shown": {t: reasons.get(t, gettext("It was not measured here.")) for t in missing}}

    def check(self) -> None:
        """Raise ``NotAModel`` for a model that cannot be read."""
        model_spec_from(self.plan.model)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        state, run = self.state, self.run
        if run is None or state.length_tokens is None:
            return replace(self.nothing_measured(), tabs=(self._quality,))
        phase, at, cells = state.phase, state.length_tokens, self._cells(state)
        shown = [r for r in cells if r.technique in state.shown]
        measured = [r for r in measured_cells(shown) if r.phase == phase]
        styles = styles_of([t for t in TECHNIQUES if t in {r.technique for r in measured}])
        shares = partial(ceiling_share, measured, phase=phase, length_tokens=at, styles=styles)
        answer = findings.verdict(shown, phase=phase, length_tokens=at)
        rows = findings.technique_rows(shown, phase=phase, length_tokens=at)
        return AnswerView(
            about=findings.about(run, same_place(self.all_runs, run)),
            answer=verdict_card(answer),
            figures=(
                lambda: time_and_memory(measured, phase=phase, length_tokens=at, styles=styles),
                self._retrieval if state.second_plot == "retrieval" and self.quality else shares,
            ),
            table=table(
                findings.technique_head(at),
                [(hint(label, title=TECHNIQUE_NOTES[t]), *rest) for t, (label, *rest) in rows.items()],
                highlighted=list(rows).index(answer.best) if answer.best else None,
            ),
            tabs=(self._quality, lambda: table_of(findings.CELL_COLUMNS, cells, left=(1, 5))),
            run=run,
        )

    def _retrieval(self) -> go.Figure:
        """Return the retrieval of the reference model over the same axis, by variant."""
        assert self.quality is not None
        rows, labels, at = self.quality.rows(Retrieval), labels_of(self.quality), self.state.length_tokens
        return retrieval_by_length(rows, labels=labels, styles=styles_of(list(labels)), length_tokens=at)

    def _quality(self) -> Markup:
        if self.quality is None:
            return paragraph(gettext("No retrieval was measured."))
        note = paragraph(gettext("What the patterns lose is measured below, by depth and length."))
        return joined(table_of(findings.QUALITY_COLUMNS, self.quality.rows(VariantResult)), note)
