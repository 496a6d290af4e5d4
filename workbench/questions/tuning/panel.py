"""The panel that says which server settings are best for a load; moving the SLO moves the choice."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from workbench.catalog.models import model_spec_from
from workbench.core.knobs import knobs_of
from workbench.core.language import gettext
from workbench.core.rows import Json
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.interface.html import EMPTY, code_block, heading, joined, message_card, paragraph, table, verdict_card
from workbench.interface.knobs import report_input
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.report.page import SettingRequests, setting_explorer
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.questions.tuning import findings
from workbench.questions.tuning.figures import flag_contributions, front, measured_so_far
from workbench.questions.tuning.findings import tables
from workbench.questions.tuning.findings.flags import contributions
from workbench.questions.tuning.rows import FittedLoad, MeasuredSoFar, csv_rows
from workbench.questions.tuning.spec import TuneSpec

SLO_FIELDS = ("slo_ttft_s", "slo_tpot_s")
FIT_HEAD = (
    gettext("Users"),
    gettext("TTFT p50 measured"),
    gettext("simulated"),
    gettext("TPOT p50 measured"),
    gettext("simulated"),
)
REFUSED_HEAD = (gettext("Setting"), gettext("reason"))


class TuningPanel(QuestionPanel):
    """Run simulates all settings and measures the promising ones; another SLO is answered from the requests that were kept."""

    title = gettext("Which server settings are best for my load?")
    spec_class = TuneSpec
    css_class = "wb-tuning"
    first = ("model", "slo_ttft_s", "slo_tpot_s")
    tab_titles = (gettext("Launch command"), gettext("Simulation"), gettext("Not tried"))
    duration = gettext("Press Run: a tuning run takes the minutes of its budget.")

    _drawn: MeasuredSoFar | None = None

    def check(self) -> None:
        """Raise where the model is none, before servers are started."""
        model_spec_from(self.plan.model)

    def first_state(self, state: PanelState) -> PanelState:
        """Return the state with the SLO of the run that is shown."""
        return self.settled(state, {"run_id": state.run_id})

    def settled(self, state: PanelState, changes: Mapping[str, Any]) -> PanelState:
        """Return the state with the SLO and the aim of a run that was chosen."""
        run = self.run_of(state) if "run_id" in changes else None
        if run is None:
            return state
        spec = run.asked(TuneSpec)
        asked = {name: getattr(spec, name) for name in (*SLO_FIELDS, "maximise", "model")}
        return replace(state, asked={**state.asked, **asked})

    def csv_rows(self, run: Run) -> list[dict[str, Json]]:
        """Return a row for each setting."""
        return csv_rows(run)

    def _tuned(self) -> findings.Tuned | None:
        run = self.run
        if run is None:
            return None
        slo = {name: float(self.state.asked[name]) for name in SLO_FIELDS}
        return findings.tuned_under(run, slo_ttft_s=slo["slo_ttft_s"], slo_tpot_s=slo["slo_tpot_s"])

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        tuned = self._tuned()
        if tuned is None:
            return self.nothing_measured()
        objective, run = tuned.aim.objective, tuned.run
        found = contributions(tuned)
        figures: tuple[Any, ...] = (lambda: front(tuned),)
        if found:
            figures += (lambda: flag_contributions(found, objective_name=findings.SCORES[objective][0]),)
        return AnswerView(
            about=gettext("with {model} on {device} · {load} · run {id}, {day}").format(
                model=Path(tuned.spec.model).name,
                device=run.environment.device,
                load=load_words(tuned.spec),
                id=run.id,
                day=run.day,
            ),
            answer=joined(self._notes(tuned), verdict_card(findings.verdict(tuned))),
            figures=figures,
            table=table(
                tables.setting_head(objective),
                tables.setting_rows(tuned),
                highlighted=tables.shown_settings(tuned).index(tuned.chosen),
            ),
            tabs=(code_block(findings.launch_command(tuned)), lambda: _fit(run), lambda: _refused(run)),
            run=run,
        )

    def _notes(self, tuned: findings.Tuned) -> Markup:
        changed = [n for n in self.changed_since(tuned.run) if not n.startswith("SLO")]
        if not self.is_stale(tuned.run) or not changed:
            return EMPTY
        title = gettext("The controls changed since this run.")
        return message_card(
            "caution",
            title,
            gettext("Changed: {changed}.").format(changed=gettext(", ").join(changed)),
            gettext("Press Run to measure them."),
        )

    def static_controls(self, view: AnswerView) -> Markup:  # noqa: ARG002
        """Return sliders of the SLO that choose among the settings without a kernel."""
        tuned = self._tuned()
        if tuned is None or tuned.aim.objective != "goodput":
            return EMPTY
        knobs = knobs_of(TuneSpec)
        rows = [
            SettingRequests(
                label=f"{k.judged.provenance.mark} {k.judged.result.name}",
                launch=f"vllm serve {tuned.spec.model} {k.judged.result.launch}",
                is_measured=k.judged.is_measured,
                is_default=k.judged.result.is_default,
                per_s=k.judged.per_s,
                pairs=k.pairs,
                ttft_p90_s=k.judged.result.ttft_p90_s,
                tpot_p90_s=k.judged.result.tpot_p90_s,
            )
            for k in findings.kept_pairs(tuned)
        ]
        return setting_explorer(
            rows,
            inputs=[
                report_input(
                    replace(knobs[name], knob=replace(knobs[name].knob, high=high)), short, getattr(tuned.aim, name)
                )
                for name, short, high in (("slo_ttft_s", "ttft", 5000), ("slo_tpot_s", "tpot", 150))
            ],
            worth_fraction=findings.WORTH,
            basis=gettext(
                "Goodput is counted anew from requests of each setting. {load}. A simulated setting is offered only to be "
                "measured."
            ).format(load=load_words(tuned.spec)),
        )

    def live_figure(self, view: JobView) -> go.Figure | None:
        """Return the settings that the running search has measured, when there is another load."""
        live = view.partial(MeasuredSoFar)
        if live is None or live == self._drawn:
            return None
        self._drawn = live
        return measured_so_far(live, objective=self.state.asked["maximise"])


def load_words(spec: TuneSpec) -> str:
    """Return the load of a spec in a few words."""
    if spec.arrivals == "closed":
        how = gettext("{n} users").format(n=spec.concurrency)
    elif spec.arrivals == "trace":
        how = gettext("trace {name}").format(name=Path(spec.trace or "").name)
    else:
        how = f"{three_digits(spec.rate_per_s)} requests/s, {spec.arrivals}"
    values = {"how": how, "input": spec.input_tokens, "output": spec.output_tokens}
    if spec.shared_prefix_tokens:
        return gettext("{how} · {input} tokens in, {shared} of them shared, {output} out").format(
            **values, shared=spec.shared_prefix_tokens
        )
    return gettext("{how} · {input} tokens in, {output} out").format(**values)


def _fit(run: Run) -> Markup:
    rows = [
        (
            str(f.users) if f.users else gettext("the load itself"),
            *(
                f"{1e3 * s:.3g} ms"
                for s in (f.ttft_p50_s, f.simulated_ttft_p50_s, f.tpot_p50_s, f.simulated_tpot_p50_s)
            ),
        )
        for f in run.rows(FittedLoad)
    ]
    text = gettext(
        "Step times were fitted to these loads on the default setting; every measurement corrects the simulation of "
        "settings like it."
    )
    return joined(paragraph(text), table(FIT_HEAD, rows)) if rows else paragraph(gettext("No load was fitted."))


def _refused(run: Run) -> Markup:
    rows = tables.refused_rows(run)
    if not rows:
        return paragraph(gettext("vLLM takes every setting of the search, and none failed."))
    return joined(heading(gettext("{n} settings").format(n=len(rows)), level=3), table(REFUSED_HEAD, rows, left=(1,)))
