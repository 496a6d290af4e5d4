"""The panel that answers how long a context fits and how fast it is: planned for any device, measured on this one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from workbench.catalog.models import model_spec_from, plannable_models
from workbench.catalog.paths import OFFERED_MODELS, located
from workbench.catalog.tables import devices
from workbench.core.errors import NotAModel, WorkbenchError
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.interface.html import code_block, joined, message_card, paragraph, table, table_of, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.long_context import findings
from workbench.questions.long_context.figures import memory_by_context, waiting_times
from workbench.questions.long_context.limits import check_fits_here
from workbench.questions.long_context.rows import peak_bytes_by_length, timed_series
from workbench.questions.long_context.spec import CONTINUED, PRECISIONS, LongContextSpec, ServingCase, lengths_up_to


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextState(ServingCase, PanelState):
    """What is planned, and which run is shown."""


class LongContextPanel(QuestionPanel):
    """A memory plan for any model and device of the catalogue, and the measurements."""

    title = gettext("How long a context can I serve?")
    spec_class, state_class = LongContextSpec, ContextState
    first = ("model",)
    css_class, is_tall = "wb-context", True
    tab_titles = (gettext("Launch command"), gettext("KV caches"), gettext("Measured latencies"))

    def first_run_id(self) -> str | None:
        """Return the first run of a GPU, or of any device."""
        first = next((r for r in self.runs if r.environment.device_id != "cpu"), next(iter(self.runs), None))
        return first.id if first else None

    def first_state(self, state: ContextState) -> ContextState:
        """Return the state with the lengths that lead to the planned context, where none were given."""
        return state if state.asked["lengths"] else self.settled(state, {"model": state.asked["model"]})

    def settled(self, state: ContextState, changes: Mapping[str, object]) -> ContextState:
        """Return the state with lengths to measure up to the planned context, or to the model's own limit."""
        if not {"model", "context_tokens"} & set(changes):
            return state
        try:
            limit = model_spec_from(state.asked["model"]).max_context_tokens
        except WorkbenchError:  # which the view says
            return state
        longest = min(state.context_tokens, max(1, limit - CONTINUED)) if limit else state.context_tokens
        return replace(state, asked={**state.asked, "lengths": lengths_up_to(longest)})

    def choices(self) -> Mapping[str, list[object]]:
        """Return the devices and models of the catalogue."""
        return {
            "planned_device": [(d.name, d.id) for d in devices().values() if d.memory_bytes],
            "model": [*OFFERED_MODELS, *plannable_models()],
        }

    def check(self) -> None:
        """Raise a ``WorkbenchError`` unless the model is a folder whose weights fit."""
        name = self.plan.model
        model_spec_from(name)
        if not Path(located(name)).is_dir():
            cause = gettext("{model} is in the catalogue only, so it can be planned and not measured.").format(
                model=name
            )
            raise NotAModel(cause, remedy=gettext("Name a folder to measure."))
        check_fits_here(self.plan)

    def launch_command(self) -> str:
        """Return how vLLM is started with the settings of the plan."""
        name = self.state.asked["model"]
        return findings.launch_command(model_spec_from(name), self.state, place=name)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        case, run = self.state, self.run
        try:
            model = model_spec_from(case.asked["model"])
            plan = findings.memory_plan(model, case)
        except WorkbenchError as error:
            return AnswerView(answer=message_card("failure", gettext("No plan."), error.cause, error.remedy), run=run)
        series = timed_series(run) if run else {}
        fits = message_card(*findings.plan_message(model, case))
        highlighted = list(PRECISIONS).index(case.precision)
        is_comparable = case.batch == 1 and case.n_devices == 1
        figures: list[Callable[[], go.Figure]] = [
            lambda: memory_by_context(
                cache_bytes=findings.cache_bytes_by_context(model, case),
                weight_bytes=plan.fixed_bytes,
                memory_bytes=plan.usable_bytes,
                context_tokens=case.context_tokens,
                measured=peak_bytes_by_length(run, model) if is_comparable else {},
            )
        ]
        measured = paragraph(gettext("No prefill was measured yet."))
        if series:
            measured = table(findings.TIMED_HEAD, findings.timed_rows(series))
            figures.append(lambda: waiting_times(series, context_tokens=case.context_tokens))
        return AnswerView(
            about=findings.about(run),
            provenance=Provenance.ESTIMATED,
            answer=joined(fits, verdict_card(findings.verdict(run)) if run else ""),
            figures=tuple(figures),
            table=table_of(findings.precision_columns(model, case), PRECISIONS, highlighted=highlighted),
            tabs=(code_block(self.launch_command()), _caches(run), measured),
            run=run,
        )


def _caches(run: Run | None) -> Markup:
    rows = findings.cache_rows(run) if run else []
    if run is None or not rows:
        return paragraph(gettext("No KV caches were compared."))
    note = gettext("{n} tokens; each time is of one run without warm-up.").format(
        n=f"{run.asked(LongContextSpec).cache_tokens:,}"
    )
    return joined(table(findings.CACHE_COLUMNS, rows), paragraph(note))
