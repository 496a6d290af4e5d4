"""The panel that answers how many of which devices, split how, a load needs."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.models import plannable_models, require_folder
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.engines.environments import require
from workbench.estimate.prediction import LEVEL
from workbench.interface.html import code_block, joined, note, paragraph, table, verdict_card
from workbench.interface.knobs import report_input
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.report.page import LoadRow, load_planner
from workbench.interface.view import AnswerView
from workbench.questions.parallelism.figures import (
    cost_and_speed,
    predicted_and_measured,
    price_by_assumption,
    queue_over_time,
)
from workbench.questions.parallelism.findings import (
    PLAN_HEAD,
    QUEUE_HEAD,
    REASON_HEAD,
    SENSITIVITY_HEAD,
    SHOWN,
    Planned,
    hidden_plans,
    launch_lines,
    plan_load,
    plan_rows,
    plan_verdict,
    queue_rows,
    queue_text,
    reason_rows,
    search,
    sensitivity_rows,
)
from workbench.questions.parallelism.findings.beside import predictions_beside
from workbench.questions.parallelism.spec import PlanSpec
from workbench.simulate.planned import combination_label
from workbench.telemetry.devices import chosen_device

search_once = lru_cache(maxsize=8)(search)
plan_load_once = lru_cache(maxsize=32)(partial(plan_load, searched=search_once))
CONTEXT_SHOWN = 1024  # of the measured cells that predictions are drawn over


DIGITS_CARRIED = 5
"""Digits of the numbers that a report carries: with all of them a file would exceed one megabyte."""


class ParallelismPanel(QuestionPanel):
    """Plans for any model and load; Run measures vLLM's steps here, to which `workbench calibrate` fits them."""

    title = gettext("How many of which GPUs, split how?")
    spec_class, measured_class = PlanSpec, ServingSpeedSpec
    css_class, is_tall, n_plots = "wb-parallel", True, 4
    tab_titles = (
        gettext("Launch command"),
        gettext("Simulated queue"),
        gettext("Sensitivity"),
        gettext("Rejected combinations"),
    )

    def find_runs(self) -> list[Run]:
        """Return the runs of GPUs, newest first."""
        return [r for r in super().find_runs() if r.environment.device_id != "cpu"]

    @property
    def measured_spec(self) -> ServingSpeedSpec:
        """Steps of the plain precision, at the contexts that are shown."""
        return ServingSpeedSpec(model=self.plan.model, served=("bf16",), contexts=(128, CONTEXT_SHOWN))

    def check(self) -> None:
        """Raise ``NotAvailable`` unless the model is a folder and vLLM is there."""
        require_folder(self.plan.model)
        require("vllm", device=chosen_device("auto").kind)

    def choices(self) -> Mapping[str, list[Any]]:
        """Return the models of the catalogue that can be planned."""
        return {"model": list(plannable_models())}

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        try:
            answer = plan_load_once(self.plan)
        except WorkbenchError as error:
            return self.no_answer(error)
        rows, reasons = plan_rows(answer), reason_rows(answer.plans)
        simulated, nothing = answer.simulated, paragraph(gettext("No plan meets the SLO."))
        queue = nothing
        if simulated is not None:
            queue = joined(table(QUEUE_HEAD, queue_rows(simulated)), paragraph(queue_text(simulated)))

        def assumptions() -> Markup:
            about = paragraph(gettext("Plans of this table are chosen by their mean latencies, without queues."))
            rows = table(SENSITIVITY_HEAD, sensitivity_rows(answer), left=(1, 3))
            return joined(rows, about) if answer.best else nothing

        verdict = plan_verdict(answer)
        return AnswerView(
            about=self._about(answer),
            provenance=verdict.provenance,
            answer=verdict_card(verdict),
            figures=self._figures(answer),
            table=joined(table(PLAN_HEAD, rows, highlighted=0), *map(paragraph, hidden_plans(answer)), _sources(answer))
            if rows
            else Markup(""),
            tabs=(
                code_block(launch_lines(answer)),
                queue,
                assumptions,
                table(REASON_HEAD, reasons, left=(1,))
                if reasons
                else paragraph(gettext("All combinations meet the SLO.")),
            ),
            run=self.run,
        )

    def _about(self, answer: Planned) -> str:
        prices = gettext("; ").join(
            gettext("{device} {usd} USD/h").format(device=o.name, usd=f"{o.usd_per_hour:.2f}")
            if o.usd_per_hour
            else gettext("{device} without a price").format(device=o.name)
            for o in answer.offers
        )
        measured = (
            gettext(" · ● {device}, run {run}, {day}").format(
                device=self.run.environment.device, run=self.run.id, day=self.run.day
            )
            if self.run
            else ""
        )
        return gettext("for {model}; prices: {prices}{measured}").format(
            model=answer.spec.model, prices=prices, measured=measured
        )

    def _figures(self, answer: Planned) -> tuple[Callable[[], go.Figure], ...]:
        priced = [p for p in answer.plans if p.reason is None and p.usd_per_hour is not None]
        figures: list[Callable[[], go.Figure]] = []
        if priced:
            figures.append(lambda: cost_and_speed(priced, frontier=answer.best, slo_tpot_s=answer.spec.tpot_s))
        over = predictions_beside(self.run, context_tokens=CONTEXT_SHOWN) if self.run else []
        if over:
            figures.append(lambda: predicted_and_measured(over, level=LEVEL))
        if answer.best:
            usd = answer.best[0].usd_per_hour or 0.0
            figures.append(lambda: price_by_assumption(answer.sensitivities, usd_per_hour=usd))
        if answer.simulated:
            queue = answer.simulated.simulated
            figures.append(lambda: queue_over_time(queue.busiest, cache_tokens=queue.cache_tokens))
        return tuple(figures)

    def static_controls(self, view: AnswerView) -> Markup:
        """Return request rate and SLO, over predicted steps of every combination."""
        if not view.table:
            return Markup("")
        answer = plan_load_once(self.plan)
        priced = [c for c in answer.curves if c.plan.reason is None and c.usd_per_device_hour is not None]
        rows = [
            LoadRow(
                label=combination_label(c.plan),
                prefill_s=_rounded(float(c.ttft_s[0] - 0.5 * c.tpot_s[0])),
                tpot_s=[_rounded(t) for t in c.tpot_s.tolist()],
                usd_per_replica_hour=(c.usd_per_device_hour or 0.0) * c.plan.n_devices,
            )
            for c in priced
        ]
        asked = {"rate": "requests_per_s", "ttft": "ttft_s", "tpot": "tpot_s"}
        return load_planner(
            rows,
            batches=max((c.batch for c in priced), key=len).astype(int).tolist(),
            output_tokens=answer.spec.output_tokens,
            inputs=[report_input(self.fields[f], name, self.state.asked[f]) for name, f in asked.items()],
            shown=SHOWN,
            basis=gettext(
                "Plans by their mean latencies, without queues: the simulation is not in this file. {model}, {n_in} prompt "
                "tokens and {n_out} output tokens. Prices: {prices}."
            ).format(
                model=answer.spec.model,
                n_in=answer.spec.input_tokens,
                n_out=answer.spec.output_tokens,
                prices=gettext("; ").join(o.price_label for o in answer.offers),
            ),
        )


def _sources(answer: Planned) -> Markup:
    prices = (gettext("{device}: {source}").format(device=o.name, source=o.price_label) for o in answer.offers)
    return note(gettext("Prices: {prices}.").format(prices=gettext("; ").join(prices)))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS_CARRIED}g}")
