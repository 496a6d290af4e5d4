"""The panel that answers how many of which devices, split how, a load needs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from html import escape
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.catalog.models import catalog_models, model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.serving_speed import ServingSpeedSpec
from workbench.core.units import shown_duration, three_digits
from workbench.estimate.prediction import LEVEL
from workbench.estimate.search import Load, Offer, Plan, chosen, curves, launch_command, pareto, ray_sketch
from workbench.experiments.device_calibration import machine_of, offers
from workbench.experiments.plan_sensitivity import Sensitivity, sensitivities
from workbench.experiments.plan_verdict import (
    MOST_TIMES,
    beside_measured,
    combination_label,
    plan_label,
    plan_verdict,
    replicas_that_keep,
    simulated,
)
from workbench.export.page import LoadRow, load_planner
from workbench.figures.parallelism import cost_and_speed, predicted_and_measured, price_hangs_on, queue_over_time
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager, workbench_home
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "serving_speed"
TITLE = "How many of which GPUs, split how?"
SHOWN = 12
KEPT = 0.95  # of the requests, for the number of replicas that is advised
CONTEXT_SHOWN = 1024  # of the measured cells that predictions are drawn over


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """Everything that the view is drawn from."""

    model: str = "meta-llama/Meta-Llama-3.1-70B"
    devices: tuple[str, ...] = ("h200-sxm", "h100-sxm", "a100-sxm-80", "l40s", "l4")
    requests_per_s: float = 10.0
    input_tokens: int = 1024
    output_tokens: int = 128
    ttft_ms: float = 1000.0
    tpot_ms: float = 50.0

    @property
    def load(self) -> Load:
        """As the search takes it."""
        return Load(
            requests_per_s=self.requests_per_s,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            ttft_s=self.ttft_ms / 1e3,
            tpot_s=self.tpot_ms / 1e3,
        )


class ParallelismPanel(AnswerPanel):
    """Plans for any model and load; Run measures vLLM's steps here, to which `workbench calibrate` fits them."""

    tab_titles = ("Launch command", "Simulated queue", "What it hangs on", "Spec as code", "Why not the others")
    n_plots = 4

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-parallel", is_tall=True, manager=manager, poll_s=poll_s)
        self._load_runs()
        self.state = PlanState()
        later = {"continuous_update": False}
        known_models = [n for n, m in catalog_models().items() if m.kv_layers]
        known = _offers_of(PlanState().devices)
        self.controls = {
            "model": labelled(
                widgets.Combobox, "Model (folder or catalogue)", value=self.state.model, options=known_models, **later
            ),
            "devices": labelled(
                widgets.SelectMultiple,
                "Devices to choose from",
                value=self.state.devices,
                options=[(f"{o.name} · {o.usd_per_hour or 0:.2f} USD/h", o.device_id) for o in known],
                rows=5,
            ),
            "requests_per_s": labelled(
                widgets.BoundedFloatText, "Requests a second", value=10.0, min=0.001, max=1e6, **later
            ),
            "input_tokens": labelled(
                widgets.BoundedIntText, "Prompt, tokens", value=1024, min=1, max=1_000_000, **later
            ),
            "output_tokens": labelled(
                widgets.BoundedIntText, "Answer, tokens", value=128, min=1, max=1_000_000, **later
            ),
            "ttft_ms": labelled(
                widgets.BoundedFloatText, "Promise: first token within, ms", value=1000.0, min=0.1, max=1e7, **later
            ),
            "tpot_ms": labelled(
                widgets.BoundedFloatText,
                "Promise: each further token within, ms",
                value=50.0,
                min=0.01,
                max=1e6,
                **later,
            ),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _load_runs(self) -> None:
        self.runs = [
            r for r in runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED) if r.environment.device_id != "cpu"
        ]

    @property
    def plan(self) -> ServingSpeedSpec:
        """The measurement that Run starts: vLLM's steps of the plain precision, on this machine."""
        return ServingSpeedSpec(model=self.state.model, served=("bf16",), contexts=(128, 1024))

    def check(self) -> None:
        """The model is a folder and vLLM is there, before a job is started."""
        from workbench.engines.environments import require
        from workbench.telemetry.devices import chosen_device

        if self.state.model in catalog_models():
            raise NotAvailable(
                f"{self.state.model} is in the catalogue only, so it can be planned and not measured.",
                remedy="Name a folder to measure.",
            )
        model_spec_from(self.state.model)
        require("vllm", device=chosen_device("auto").kind)

    def finished(self, view: JobView) -> None:  # noqa: ARG002
        """Draw the new measurements under the predictions."""
        self._load_runs()
        self.draw()

    def view(self) -> AnswerView:
        """The answer to the state."""
        state = self.state
        try:
            model, load = _planned(state.model), state.load
            known = _offers_of(state.devices)
            found = chosen(curves(model, load, known), load)
        except WorkbenchError as error:
            answer = message_card("failure", "No plan.", error.cause, error.remedy)
            tabs = ("",) * len(self.tab_titles)
            return AnswerView(header=f"<h2>{TITLE}</h2>", answer=answer, figures=(), table="", tabs=tabs, run=None)
        best = pareto(found)
        later = _Later(model=model, load=load, known=known, best=best)
        verdict = plan_verdict(found, best, load, kept_fraction=later.queue["kept_fraction"] if best else None)
        rows = [asdict(p) | {"label": plan_label(p)} for p in found if p.reason is None and p.usd_per_hour is not None]
        joined = [asdict(p) | {"label": plan_label(p)} for p in best]
        figures: list[Any] = []
        if rows:
            figures.append(lambda: cost_and_speed(rows, frontier=joined, tpot_promise_s=load.tpot_s))
        run = self.runs[0] if self.runs else None
        over = self._over_measured(run)
        if over:
            figures.append(lambda: predicted_and_measured(over, level=LEVEL))
        if best:
            figures += [later.price_figure, later.queue_figure]
        command = (
            ray_sketch(launch_command(state.model, best[0], load), best[0]) if best else "# no plan keeps the promises"
        )
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>{_stands_on(run, known)}</p>",
            answer=verdict_card(verdict.headline, verdict.evidence, verdict.objection, is_stale=False).replace(
                "<p>● ", "<p>◌ "
            ),
            figures=tuple(figures),
            table=_table(found, best),
            tabs=(
                code_block(command + _many(best)),
                later.queue_text,
                later.price_text,
                code_block(_code(state)),
                _reasons(found),
            ),
            run=run,
        )

    def static_controls(self, view: AnswerView) -> str:
        """Rate and promises, over predicted steps of every combination."""
        if view.table == "":
            return ""
        state = self.state
        known = _offers_of(state.devices)
        rows = [
            LoadRow(
                label=combination_label(c.plan),
                batch=c.batch.tolist(),
                ttft_s=c.ttft_s.tolist(),
                tpot_s=c.tpot_s.tolist(),
                requests_per_s=c.capacity_requests_per_s.tolist(),
                usd_per_replica_hour=c.usd_per_device_hour * c.plan.n_devices,
            )
            for c in curves(_planned(state.model), state.load, known)
            if c.plan.reason is None and c.usd_per_device_hour is not None
        ]
        return load_planner(
            rows,
            requests_per_s=state.requests_per_s,
            ttft_s=state.ttft_ms / 1e3,
            tpot_s=state.tpot_ms / 1e3,
            shown=SHOWN,
            basis=f"{state.model}, {state.input_tokens} tokens in and {state.output_tokens} out. "
            f"Prices: {'; '.join(o.price_label for o in known)}.",
        )

    def _over_measured(self, run: Run | None) -> list[dict[str, Any]]:
        if run is None:
            return []
        try:
            machine, is_own = machine_of(run.environment.device_id, own=workbench_home() / "calibrations")
        except NotAvailable:
            return []
        return beside_measured(run, machine, context_tokens=CONTEXT_SHOWN) if is_own else []


@lru_cache(maxsize=32)
def _offers_of(device_ids: tuple[str, ...]) -> list[Offer]:
    return offers(device_ids, own=workbench_home() / "calibrations")


def _planned(place: str) -> ModelSpec:
    model = model_spec_from(place)
    if not model.kv_layers:
        raise NotAvailable(
            f"What the layers of {model.name} keep of a token is not in the catalogue.", remedy="Choose another model."
        )
    return model


def _stands_on(run: Run | None, known: Sequence[Offer]) -> str:
    measured = f" · ● {escape(run.environment.device)}, run {run.id}, {run.day}" if run else ""
    return f"◌ estimated; prices: {escape('; '.join(o.price_label for o in known))}{measured}"


def _many(best: Sequence[Plan]) -> str:
    if not best or best[0].n_replicas == 1:
        return ""
    return f"\n# {best[0].n_replicas} of these behind a load balancer, each on {best[0].n_devices} device(s)"


@dataclass(kw_only=True)
class _Later:
    """What takes longer than the answer: simulated queues, and the price under changed assumptions."""

    model: ModelSpec
    load: Load
    known: Sequence[Offer]
    best: Sequence[Plan]

    @cached_property
    def hangs_on(self) -> list[Sensitivity]:
        return sensitivities(self.model, self.load, self.known, self.best[0])

    @cached_property
    def _offer(self) -> Offer:
        return next(o for o in self.known if o.device_id == self.best[0].device_id)

    @cached_property
    def queue(self) -> dict[str, Any]:
        return simulated(self.model, self.best[0], self.load, self._offer)

    def price_figure(self) -> go.Figure:
        usd = self.best[0].usd_per_hour or 0.0
        return price_hangs_on([s.row() for s in self.hangs_on], usd_per_hour=usd)

    def queue_figure(self) -> go.Figure:
        return queue_over_time(self.queue["over_time"], cache_tokens=self.queue["cache_tokens"])

    def queue_text(self) -> str:
        """Waits, and how many replicas would do."""
        if not self.best:
            return "<p>There is no plan to simulate.</p>"
        told, plan = self.queue, self.best[0]
        rows = [
            (
                name.upper(),
                *(shown_duration(told[f"{name}_p{q}_s"]) if told[f"{name}_p{q}_s"] else "–" for q in (50, 90, 99)),
            )
            for name in ("ttft", "tpot", "e2e")
        ]
        enough = replicas_that_keep(self.model, plan, self.load, self._offer, share=KEPT)
        advice = (
            f"No number up to {MOST_TIMES} times as many replicas keeps both for {100 * KEPT:.0f} %."
            if enough is None
            else f"For {100 * KEPT:.0f} % it takes {enough} replica(s), "
            f"{(plan.usd_per_hour or 0) / plan.n_replicas * enough:.2f} USD/h."
        )
        return (
            table(("△ simulated", "p50", "p90", "p99"), rows)
            + f"<p>{told['n_requests']} Poisson arrivals with lognormal lengths on {plan.n_replicas} replica(s), each to "
            f"the one with the least to do: {100 * told['kept_fraction']:.0f} % keep both promises, goodput "
            f"{three_digits(told['goodput_requests_per_s'])} requests/s, {told['n_preempted']} preempted. Replicas are "
            f"{100 * told['busy_fraction']:.0f} % busy; at most {told['waiting_max']} wait at one, and a cache is at most "
            f"{100 * told['cache_max_fraction']:.0f} % full. {advice}</p>"
        )

    def price_text(self) -> str:
        """The table under the figure."""
        if not self.best:
            return "<p>There is no plan to vary.</p>"

        def cells(plan: Plan | None) -> tuple[str, str]:
            if plan is None:
                return "–", "no plan keeps the promises"
            return f"{plan.usd_per_hour or 0:.2f}", escape(plan_label(plan))

        rows = [
            (escape(s.assumption), escape(value), *cells(plan))
            for s in self.hangs_on
            for value, plan in ((s.low, s.plan_low), (s.high, s.plan_high))
        ]
        return table(("Assumption ◌", "changed to", "USD/h", "cheapest plan then"), rows, left=(3,))


def _code(state: PlanState) -> str:
    return (
        "from workbench.catalog.models import model_spec_from\n"
        "from workbench.estimate.search import Load, plans\n"
        "from workbench.experiments.device_calibration import offers\n\n"
        f"load = {state.load!r}\n"
        f"found = plans(model_spec_from({state.model!r}), load, offers({list(state.devices)!r}))\n"
    )


def _table(found: Sequence[Plan], best: Sequence[Plan]) -> str:
    head = ("Plan ◌", "devices", "sequences", "first token", "per token", "USD/h", "USD / M output", "memory", "basis")
    feasible = [p for p in found if p.reason is None][:SHOWN]
    rows = [
        (
            ("◆ " if p in best else "") + escape(plan_label(p)),
            str(p.total_devices),
            str(p.concurrency),
            shown_duration(p.ttft_s),
            shown_duration(p.tpot_s),
            "–" if p.usd_per_hour is None else f"{p.usd_per_hour:.2f}",
            "–" if p.usd_per_million_output_tokens is None else three_digits(p.usd_per_million_output_tokens),
            f"{100 * p.memory_fraction:.0f} %",
            "calibrated" if p.is_calibrated else "borrowed",
        )
        for p in feasible
    ]
    return table(head, rows, highlighted=0 if rows else None) if rows else ""


def _reasons(found: Sequence[Plan]) -> str:
    reasons = dict.fromkeys(
        (f"{p.device_name}, {p.n_devices} in a group, {p.precision}, {p.kv_bits}-bit cache", p.reason or "")
        for p in found
        if p.reason
    )
    rows = [(escape(what), escape(why)) for what, why in reasons]
    return (
        table(("Combination", "what stands against it"), rows, left=(1,)) if rows else "<p>All keep the promises.</p>"
    )


def panel(**options: Any) -> ParallelismPanel:
    """The panel, attached to a run that is still going."""
    return ParallelismPanel(**options)
