"""The panel that gives each layer a precision of its own: drag a budget, see the plan, verify it, take it away."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import REFERENCE_MODEL_PLACE, located
from workbench.core.checkpoints import FORMATS
from workbench.core.plan_damage import PlanDamageSpec
from workbench.core.runs import Run
from workbench.core.sensitivity import SensitivitySpec
from workbench.estimate.mixed_precision import Solution
from workbench.experiments.plan_ledger import Ledger, ledger
from workbench.experiments.plan_space import (
    BITS,
    BYTES,
    TIME,
    PlanSpace,
    plan_space,
    plan_verdict,
    short_format,
    without_kernel,
)
from workbench.export.page import PlanStep, plan_explorer
from workbench.figures.mixed_precision import CHOSEN, KL_FLOOR, choose
from workbench.figures.tables import message_card, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import html, labelled, set_html
from workbench.panels.click_relay import ClickRelay
from workbench.panels.job_panel import POLL_S, JobPanel
from workbench.panels.mixed_precision_view import (
    agreement_table,
    heat_map,
    history,
    plan_plot,
    plan_table,
    stands_on,
    take_away,
    transferred,
)
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "sensitivity"
TITLE = "Which layer gets how many bits?"
START_BITS = 6.0
N_STEPS = 200  # of the budget slider
SETTLE_S = 0.4  # without a further step of the budget until the plot's own data follow its marker
REPORT_STEPS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedState:
    """Everything that the view is drawn from."""

    model: str = REFERENCE_MODEL_PLACE
    cost: str = BITS
    batch: int = 1
    budget: float = START_BITS
    """In the unit that is shown."""
    formats: tuple[str, ...] = ()
    run_id: str | None = None


class _Verification(JobPanel):
    """The job that measures the chosen plan."""

    def __init__(self, owner: "MixedPrecisionPanel", *, manager: JobManager, poll_s: float) -> None:
        super().__init__("plan_damage", manager=manager, poll_s=poll_s)
        self.owner = owner
        self.message = owner.message
        self.job_bar.run.description = "Verify this plan"
        self.job_bar.run.tooltip = "Measures the divergence of the whole plan (about a minute on two cores)"

    @property
    def plan(self) -> PlanDamageSpec:
        """The chosen plan, to be measured on the windows that the sensitivity run verifies on."""
        return self.owner.plan_to_verify()

    def finished(self, view: JobView) -> None:  # noqa: ARG002
        """Show the new measurement in the plot."""
        self.owner.reload()


class MixedPrecisionPanel(AnswerPanel):
    """Sensitivities of layer groups, the best plans within a budget, and what was measured of them."""

    tab_titles = ("Recipe and commands", "Spec as code", "Is the proxy right?", "History")

    def __init__(
        self, manager: JobManager | None = None, *, poll_s: float = POLL_S, settle_s: float = SETTLE_S
    ) -> None:
        super().__init__(KIND, css_class="wb-mixed", manager=manager, poll_s=poll_s)
        self.settle_s = settle_s
        self._settling: threading.Timer | None = None
        self.verification = _Verification(self, manager=self.manager, poll_s=poll_s)
        self._spaces: dict[Any, PlanSpace] = {}
        self._plots: dict[int, go.Figure] = {}
        self._ledgers: dict[tuple[str, int], Ledger] = {}
        self._solved: tuple[tuple[int, float], Solution] | None = None
        self._read_runs()
        run = self._run_shown(MixedState())
        missing = without_kernel(self.products)
        known = run.spec["formats"] if run else SensitivitySpec(model="").formats
        self.state = MixedState(formats=tuple(f for f in known if f not in missing))
        self._build()
        self.draw()
        self.attach_to_live_job()
        self.verification.attach_to_live_job()

    def _read_runs(self) -> None:
        self.runs, self.products, self.checks = (
            runs_of_kind(kind, store=self.manager.store, shipped=SHIPPED) for kind in (KIND, "gemm", "plan_damage")
        )
        self._spaces.clear()
        self._plots.clear()
        self._ledgers.clear()
        self._solved = None

    def reload(self) -> None:
        """Read stored runs again and draw."""
        self._read_runs()
        self.draw()

    def _build(self) -> None:
        models = sorted({r.spec["model"] for r in self.runs} | {REFERENCE_MODEL_PLACE})
        costs = [("stored bits per weight", BITS), ("bytes of the linear layers", BYTES)]
        costs += [
            (f"time of products · {p.environment.device} · {Path(p.spec['model']).name}", TIME + p.id)
            for p in self.products
        ]
        self.controls = {
            "model": labelled(
                widgets.Combobox, "Model (folder)", value=self.state.model, options=models, continuous_update=False
            ),
            "cost": labelled(widgets.Dropdown, "Pay in", value=self.state.cost, options=costs),
            "batch": labelled(widgets.Dropdown, "Tokens worked on together", value=1, options=[1]),
            "budget": labelled(
                widgets.FloatSlider,
                "Budget, bits per weight",
                value=self.state.budget,
                min=3,
                max=16,
                step=0.05,
                readout_format=".3g",
            ),
        }
        self.format_buttons = {
            f: widgets.ToggleButton(description=short_format(f), tooltip=FORMATS[f].label)
            for f in FORMATS
            if f != "bf16"
        }
        for button in self.format_buttons.values():
            button.observe(self.guarded(self._formats_changed), names="value")
        buttons = widgets.Box(list(self.format_buttons.values()))
        buttons.add_class("wb-methods")
        self.relay = ClickRelay(box_class="wb-mixed", point={}, layout={"display": "none"})
        self.relay.observe(self.guarded(self._clicked), names="point")
        c = self.controls
        formats = html("Formats a layer may have (BF16 always)")
        self.build(
            [
                c["model"],
                formats,
                buttons,
                c["cost"],
                c["batch"],
                c["budget"],
                self.relay,
                self.verification.job_bar.box,
            ]
        )

    def _formats_changed(self, _change: Any) -> None:
        if not self._quiet:
            self.update(formats=tuple(f for f, b in self.format_buttons.items() if b.value))

    def _clicked(self, change: Any) -> None:
        if "x" in change["new"]:
            self.update(budget=float(change["new"]["x"]) * (1 + 1e-6))

    def update(self, **changes: Any) -> None:
        """Like any change, but a dragged budget gets its answer at once and a new plot when it rests."""
        if self._quiet:
            return
        dragged = set(changes) == {"budget"} and self.settle_s > 0 and self._run_shown(self.state) is not None
        if not dragged:
            super().update(**changes)
            return
        self.clear_message()
        self.state = replace(self.state, **changes)
        view, chosen, run = self.view(), self.chosen(), self._run_shown(self.state)
        assert chosen is not None
        assert run is not None
        factor = self._space(run, self.state).unit.factor
        self.show_answer(view)
        set_html(self.tabs_html[0], view.tab(0))  # the recipe must never be another plan's
        self.relay.marker = {"trace": CHOSEN, "x": chosen.cost * factor, "y": max(chosen.damage, KL_FLOOR)}
        if self.controls["budget"].value != self.state.budget:  # a click in the plot
            self._quiet = True
            self.controls["budget"].value = self.state.budget
            self._quiet = False
        if self._settling is not None:
            self._settling.cancel()
        self._settling = threading.Timer(self.settle_s, self.guarded(lambda: self.show_rest(self.view())))
        self._settling.daemon = True
        self._settling.start()

    def settled(self, state: MixedState, changes: dict[str, Any]) -> MixedState:
        """Another unit keeps the plan, as far as the budget can say it."""
        if "model" in changes:
            state = replace(state, run_id=None)
        if set(changes) & {"cost", "batch"} and (run := self._run_shown(state)):
            old, new = self._space(run, self.state), self._space(run, self._with_batch(state))
            share = self.state.budget / old.unit.factor / old.uniform["bf16"].cost
            state = replace(self._with_batch(state), budget=share * new.uniform["bf16"].cost * new.unit.factor)
        return state

    def _batches(self, state: MixedState) -> list[int]:
        timed = next((p for p in self.products if TIME + p.id == state.cost), None)
        return sorted({int(r["batch"]) for r in timed.results}) if timed else [1]

    def _with_batch(self, state: MixedState) -> MixedState:
        batches = self._batches(state)
        return state if state.batch in batches else replace(state, batch=batches[0])

    def show_controls(self) -> None:
        """Ranges and choices that go with the unit."""
        run = self._run_shown(self.state)
        slider, batch = self.controls["budget"], self.controls["batch"]
        if tuple(batch.options) != tuple(self._batches(self.state)):
            batch.options = self._batches(self.state)
        batch.layout.display = None if self.state.cost.startswith(TIME) else "none"
        if run is not None:
            space = self._space(run, self.state)
            low, high = (round(v * space.unit.factor, 4) for v in (space.low, max(space.high, space.low * 1.001)))
            if (slider.min, slider.max) != (low, high):
                slider.min, slider.max = min(low, slider.max), high
                slider.min = low
                slider.step = (high - low) / N_STEPS
            slider.description = (
                f"Budget,{space.unit.suffix if space.unit.suffix.strip() != 'bits' else ' bits per weight'}"
            )
            if not low <= self.state.budget <= high:
                self.state = replace(self.state, budget=min(max(self.state.budget, low), high))
        missing = without_kernel(self.products)
        measured = set(run.spec["formats"]) if run else set(FORMATS)
        for name, button in self.format_buttons.items():
            button.disabled = name not in measured
            button.value = name in self.state.formats and name in measured
            told = f" · no kernel in {missing[name]}" if name in missing else ""
            button.tooltip = FORMATS[name].label + (told if name in measured else " · not in the shown run")
            button.layout.display = None if name in measured else "none"
        super().show_controls()
        self.verification.job_bar.allow_run(run is not None)

    def _run_shown(self, state: MixedState) -> Run | None:
        wanted = Path(located(state.model))
        own = [r for r in self.runs if Path(located(r.spec["model"])) == wanted]
        return next((r for r in own if r.id == state.run_id), own[0] if own else None)

    def _space(self, run: Run, state: MixedState) -> PlanSpace:
        key = (run.id, state.formats, state.cost, state.batch)
        if key not in self._spaces:
            self._spaces[key] = plan_space(
                run,
                formats=state.formats,
                cost=state.cost,
                batch=state.batch,
                products=self.products,
                checks=self.checks,
            )
        return self._spaces[key]

    def chosen(self) -> Solution | None:
        """The plan that the budget buys."""
        run = self._run_shown(self.state)
        if run is None:
            return None
        return self._best(self._space(run, self.state))

    def _best(self, space: PlanSpace) -> Solution:
        """The plan of the state's budget; solved once for a budget."""
        key = (id(space), self.state.budget)
        if self._solved is None or self._solved[0] != key:
            self._solved = (key, space.best(self.state.budget / space.unit.factor))
        return self._solved[1]

    def plan_to_verify(self) -> PlanDamageSpec:
        """A measurement of the chosen plan on the text of the shown run."""
        run, chosen = self._run_shown(self.state), self.chosen()
        assert run is not None
        assert chosen is not None
        spec = SensitivitySpec.from_dict(run.spec)
        return PlanDamageSpec(
            model=spec.model,
            plan=dict(chosen.plan),
            n_samples=(spec.n_samples,),
            text=spec.text,
            calibration=spec.calibration,
            n_windows=spec.n_windows,
            window_tokens=spec.window_tokens,
            seed=spec.seed,
        )

    @property
    def plan(self) -> SensitivitySpec:
        """The measurement that Run starts: every format in every layer group of the model, one at a time."""
        return SensitivitySpec(model=self.state.model)

    def check(self) -> None:
        """The model is one, before a job is started."""
        model_spec_from(self.state.model)

    def finished(self, view: JobView) -> None:
        """Show the new run."""
        self.state = replace(self.state, run_id=view.id)
        self.reload()

    def view(self) -> AnswerView:
        """The answer to the state."""
        run = self._run_shown(self.state)
        header = f"<h2>{TITLE}</h2><p class='sub'>{stands_on(run, self.state.model)}</p>"
        spec_code = code_block(self.plan.as_code())
        if run is None:
            answer = message_card(
                "info",
                "No run yet.",
                f"The layers of {self.state.model} were not measured.",
                "Press Run: about six minutes for the reference model on two cores.",
            )
            return AnswerView(
                header=header, answer=answer, figures=(), table="", tabs=("", spec_code, "", ""), run=None
            )
        space = self._space(run, self.state)
        chosen = self._best(space)
        verdict = plan_verdict(
            space,
            chosen,
            missing=without_kernel(self.products),
            transferred=transferred(run, next((p for p in self.products if TIME + p.id == self.state.cost), None)),
        )
        return AnswerView(
            header=header,
            answer=verdict_card(verdict.headline, verdict.evidence, verdict.objection, is_stale=False),
            figures=(lambda: self._plot(space, chosen),),
            beside=heat_map(space, chosen),
            table=plan_table(space, self._ledger(run), chosen),
            tabs=(
                take_away(self.state.model, space, chosen),
                spec_code,
                agreement_table(space),
                history(self.runs, run),
            ),
            run=run,
        )

    def _plot(self, space: PlanSpace, chosen: Solution) -> go.Figure:
        """The figure of a space, made once, with its marker at the chosen plan."""
        if id(space) not in self._plots:
            self._plots[id(space)] = plan_plot(space, chosen)
        return choose(self._plots[id(space)], chosen, factor=space.unit.factor)

    def _ledger(self, run: Run) -> Ledger:
        key = (run.id, self.state.batch)
        if key not in self._ledgers:
            self._ledgers[key] = ledger(run, self.products, batch=self.state.batch)
        return self._ledgers[key]

    def static_controls(self, view: AnswerView) -> str:
        """The budget, over the best plans."""
        if view.run is None:
            return ""
        space = self._space(view.run, self.state)
        chosen = self._best(space)
        every = max(1, len(space.corners) // REPORT_STEPS)
        others = [c for c in space.corners[::every] if dict(c.plan) != dict(chosen.plan)]
        offered = sorted([*others, chosen], key=lambda s: s.cost)
        steps = [
            PlanStep(
                cost=s.cost * space.unit.factor,
                damage=s.damage,
                formats={g: short_format(f) for g, f in s.plan.items()},
                plan=dict(s.plan),
            )
            for s in offered
        ]
        return plan_explorer(steps, unit=space.unit.suffix.strip() or space.unit.name, start=offered.index(chosen))


def panel(**options: Any) -> MixedPrecisionPanel:
    """The panel, attached to a run that is still going."""
    return MixedPrecisionPanel(**options)
