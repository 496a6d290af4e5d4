"""The panel that says what a surge does to a server, and which controls help."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.interface.html import code_block, joined, paragraph, table, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.surge.figures import answered_in_time, shares_of_tenants
from workbench.questions.surge.findings import (
    RESULT_HEAD,
    TENANT_HEAD,
    result_rows,
    shown_controls,
    tenant_rows,
    verdict,
    vllm_flags,
)
from workbench.questions.surge.rows import SurgeResult, SurgeSamples, gateway_controls
from workbench.questions.surge.spec import CONTROLS, SurgeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeState(PanelState):
    """What is shown of a surge."""

    compared: str = knob(
        "all", "Controls in the plot", "Set of controls that the plot compares with no gateway.", choices=CONTROLS
    )


class SurgePanel(QuestionPanel):
    """Controls of a surge, and its results; Run sends it to an engine on this machine, once with each set of controls."""

    title = gettext("What happens when more comes than it can do?")
    spec_class, state_class = SurgeSpec, SurgeState
    css_class = "wb-surge"
    cancelled_note = BEGINS_ANEW
    duration = gettext("Press Run; it takes about four minutes.")
    tab_titles = (gettext("Results per tenant"), gettext("vLLM server flags"))

    def settled(self, state: SurgeState, changes: Mapping[str, object]) -> SurgeState:  # noqa: ARG002
        """Return the state with controls that the shown run has tried."""
        controls = gateway_controls(self.run_of(state))
        return state if not controls or state.compared in controls else replace(state, compared=controls[-1])

    def choices(self) -> Mapping[str, list[tuple[str, str]]]:
        """Return the controls that the shown run has tried."""
        return {"compared": [(shown_controls(name), name) for name in gateway_controls(self.run) or list(CONTROLS)[1:]]}

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None or not run.results:
            return self.nothing_measured()
        rows, spec, samples = run.rows(SurgeResult), run.asked(SurgeSpec), run.sampled(SurgeSamples)
        capacity_per_s, times = samples.capacity.requests_per_s, samples.over_time
        baseline = "direct" if "direct" in times else next(iter(times))
        shown = self.state.compared if self.state.compared in times else baseline
        best = next((i for i, r in enumerate(rows) if r.controls == shown), None)
        line, basis = vllm_flags(run)
        return AnswerView(
            about=gettext("on {device}, {engine}, {factor}× for {seconds} s, run {run}, {day}").format(
                device=run.environment.device,
                engine=samples.engine_version or gettext("torch engine"),
                factor=f"{spec.overload:g}",
                seconds=f"{spec.surge_s:g}",
                run=run.id,
                day=run.day,
            ),
            answer=verdict_card(verdict(run)),
            figures=(
                lambda: answered_in_time(times, capacity_per_s=capacity_per_s, shown=shown, baseline=baseline),
                lambda: shares_of_tenants(rows),
            ),
            table=table(RESULT_HEAD, result_rows(rows, spec.after_s), highlighted=best),
            tabs=(
                lambda: table(TENANT_HEAD, tenant_rows(rows), left=(1,)),
                joined(code_block(line), paragraph(basis)),
            ),
            run=run,
        )
