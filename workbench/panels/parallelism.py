"""The panel that answers how many of which devices, split how, a load needs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import catalog_models, model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.serving_speed import ServingSpeedSpec
from workbench.core.units import shown_duration, three_digits
from workbench.estimate.prediction import LEVEL
from workbench.estimate.search import Load, Offer, Plan, launch_command, pareto, plans, ray_sketch
from workbench.experiments.device_calibration import machine_of, offers
from workbench.experiments.plan_verdict import beside_measured, plan_label, plan_verdict, simulated
from workbench.figures.parallelism import cost_and_speed, predicted_and_measured
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

    tab_titles = ("Launch command", "Simulated queue", "Spec as code", "Why not the others")

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
            found = plans(model, load, known)
        except WorkbenchError as error:
            answer = message_card("failure", "No plan.", error.cause, error.remedy)
            tabs = ("", "", "", "")
            return AnswerView(header=f"<h2>{TITLE}</h2>", answer=answer, figures=(), table="", tabs=tabs, run=None)
        best = pareto(found)
        verdict = plan_verdict(found, best, load)
        rows = [asdict(p) | {"label": plan_label(p)} for p in found if p.reason is None and p.usd_per_hour is not None]
        joined = [asdict(p) | {"label": plan_label(p)} for p in best]
        figures: list[Any] = []
        if rows:
            figures.append(lambda: cost_and_speed(rows, frontier=joined, tpot_promise_s=load.tpot_s))
        run = self.runs[0] if self.runs else None
        over = self._over_measured(run)
        if over:
            figures.append(lambda: predicted_and_measured(over, level=LEVEL))
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
                _queue(model, best, load, known),
                code_block(_code(state)),
                _reasons(found),
            ),
            run=run,
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


def _queue(model: ModelSpec, best: Sequence[Plan], load: Load, known: Sequence[Offer]) -> str:
    if not best:
        return "<p>There is no plan to simulate.</p>"
    offer = next(o for o in known if o.device_id == best[0].device_id)
    told = simulated(model, best[0], load, offer)
    rows = [
        (
            name.upper(),
            *(shown_duration(told[f"{name}_p{q}_s"]) if told[f"{name}_p{q}_s"] else "–" for q in (50, 90, 99)),
        )
        for name in ("ttft", "tpot", "e2e")
    ]
    return (
        table(("△ simulated", "p50", "p90", "p99"), rows)
        + f"<p>{told['n_requests']} Poisson arrivals with lognormal lengths on {best[0].n_replicas} replica(s) in turn: "
        f"{100 * told['kept_fraction']:.0f} % keep both promises, goodput {three_digits(told['goodput_requests_per_s'])} "
        f"requests/s, {told['n_preempted']} preempted.</p>"
    )


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
