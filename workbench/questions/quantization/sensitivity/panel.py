"""The panel of mixed precision: drag a budget, see the best plan, verify it, and export its recipe."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor, log10
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as widgets
import plotly.graph_objects as go
from markupsafe import Markup

from workbench.catalog.formats import FORMATS, MAKEABLE, short_format
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED, located
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.estimate.mixed_precision import Solution
from workbench.estimate.rows import ProductTime
from workbench.interface.click_relay import ClickRelay
from workbench.interface.html import code_block, folded, heat_map, joined, paragraph, table, verdict_card
from workbench.interface.job_panel import POLL_S, JobPanel
from workbench.interface.panel import set_html
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.report.page import PlanStep, plan_explorer
from workbench.interface.shared_view import runs_of_kind
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec
from workbench.questions.quantization.sensitivity import findings
from workbench.questions.quantization.sensitivity.figures import CHOSEN, choose, damage_against_cost
from workbench.questions.quantization.sensitivity.findings.plan_ledger import ledger
from workbench.questions.quantization.sensitivity.findings.plan_space import (
    BITS,
    BYTES,
    TIME,
    PlanSpace,
    plan_space,
    without_kernel,
)
from workbench.questions.quantization.sensitivity.rows import KL_FLOOR, UNQUANTIZED
from workbench.questions.quantization.sensitivity.spec import SensitivitySpec

T = TypeVar("T")
N_STEPS = 200  # of the budget slider
SETTLE_S = 0.4  # without a further step of the budget until the plot's own data follow its marker
REPORT_STEPS = 40
UNITS = {BITS: gettext("stored bits per weight"), BYTES: gettext("bytes of the linear layers")}
AGREEMENT = gettext(
    "Rank correlation (Spearman) with the measured KL over all layer groups; 1 means the same order. "
    "The Fisher proxy costs eight backward passes instead of one evaluation for each format and group."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedState(PanelState):
    """Budget of the plan, and the formats that it may use."""

    allowed: tuple[str, ...] = knob(
        (),
        "Allowed formats",
        "Formats that a layer group may have in the plan; BF16 is always allowed.",
        choices={f: short_format(f) for f in MAKEABLE if f != UNQUANTIZED},
    )
    cost: str = knob(
        BITS,
        "Unit of the budget",
        "Unit in which the plan is limited: memory of the weights, or time of the products.",
        choices=UNITS,
    )
    batch: int = knob(1, "Tokens per product", "Number of tokens in one product, at which the products were timed.")
    budget: float = knob(
        6.0, "Budget", "Largest cost that the plan may have, in the unit of the budget.", low=3, high=16, step=0.05
    )


class _Verification(JobPanel):
    """The job that measures the chosen plan as a whole."""

    def __init__(self, owner: "MixedPrecisionPanel") -> None:
        super().__init__("plan_damage", manager=owner.manager, poll_s=owner.poll_s)
        self.owner, self.message = owner, owner.message
        self.job_bar.run.description = gettext("Verify this plan")
        self.job_bar.run.tooltip = gettext(
            "Measures the KL divergence of the whole plan (about a minute on two cores)."
        )

    @property
    def plan(self) -> PlanDamageSpec:
        """The chosen plan, to be measured on the windows that the sensitivity run verifies on."""
        return self.owner.plan_to_verify()

    def finished(self, view: JobView) -> None:  # noqa: ARG002
        """Show the new measurement in the plot."""
        self.owner.reload()


class MixedPrecisionPanel(QuestionPanel):
    """Sensitivities of layer groups, the best plan within a budget, and the measured plans."""

    title = gettext("Which layer gets how many bits?")
    spec_class, state_class = SensitivitySpec, MixedState
    css_class = "wb-mixed"
    n_plots = 1
    duration = gettext("Press Run: about six minutes for the reference model on two cores.")
    tab_titles = (gettext("Recipe"), gettext("Accuracy of the proxies"))

    def __init__(
        self, manager: JobManager | None = None, *, poll_s: float = POLL_S, settle_s: float = SETTLE_S, **start: Any
    ) -> None:
        self.settle_s = settle_s
        self._settling: threading.Timer | None = None
        super().__init__(manager, poll_s=poll_s, **start)
        self.verification.attach_to_live_job()

    # --- state --------------------------------------------------------------------------------------------------

    def find_runs(self) -> list[Run]:
        """Return the runs that can be shown; those of products and whole plans are read again with them."""
        self.products, self.checks = (
            runs_of_kind(kind, store=self.manager.store, shipped=MEASURED) for kind in ("gemm", "plan_damage")
        )
        self._computed: dict[tuple[object, ...], Any] = {}
        return super().find_runs()

    def reload(self) -> None:
        """Read stored runs again and draw."""
        self.runs = self.find_runs()
        self.draw()

    def first_state(self, state: MixedState) -> MixedState:
        """Return the state that allows every measured format with a kernel."""
        run, missing = self.run_of(state), without_kernel(self.products)
        known = run.asked(SensitivitySpec).formats if run else SensitivitySpec.stored(state.asked).formats
        state = replace(state, allowed=tuple(f for f in known if f not in missing))
        return self.settled(state, {"run_id": state.run_id})

    def settled(self, state: MixedState, changes: Mapping[str, object]) -> MixedState:
        """Return the state with a run of its model; another unit keeps the plan, as far as the budget can say it."""
        if "model" in changes:
            model = Path(located(SensitivitySpec.stored(state.asked).model))
            own = (r.id for r in self.runs if Path(located(r.asked(SensitivitySpec).model)) == model)
            state = replace(state, run_id=next(own, None))
        run = self.run_of(state)
        if run is None:
            return state
        if "run_id" in changes:
            state = replace(state, asked={**state.asked, "model": run.model})
        batches = self._batches(state)
        state = state if state.batch in batches else replace(state, batch=batches[0])
        space = self._space(run, state)
        if {"cost", "batch"} & set(changes):
            old = self._space(run, self.state)
            share = self.state.budget / old.unit.factor / old.uniform[UNQUANTIZED].cost
            state = replace(state, budget=share * space.uniform[UNQUANTIZED].cost * space.unit.factor)
        low, high = _bounds(space)
        return replace(state, budget=min(max(state.budget, low), high))

    def _batches(self, state: MixedState) -> list[int]:
        timed = self._timed(state)
        return sorted({r.batch for r in timed.rows(ProductTime)}) if timed else [1]

    def _timed(self, state: MixedState) -> Run | None:
        return next((p for p in self.products if TIME + p.id == state.cost), None)

    def _once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return what takes long, which is made once until runs are read again."""
        if key not in self._computed:
            self._computed[key] = make()
        value: T = self._computed[key]
        return value

    def _space(self, run: Run, state: MixedState) -> PlanSpace:
        return self._once(
            (run.id, state.allowed, state.cost, state.batch),
            lambda: plan_space(
                run,
                formats=state.allowed,
                cost=state.cost,
                batch=state.batch,
                products=self.products,
                checks=self.checks,
            ),
        )

    def chosen(self) -> Solution | None:
        """Return the best plan within the budget."""
        return self._best(self._space(self.run, self.state)) if self.run else None

    def _best(self, space: PlanSpace) -> Solution:
        budget = self.state.budget
        return self._once((id(space), budget), lambda: space.best(budget / space.unit.factor))

    def plan_to_verify(self) -> PlanDamageSpec:
        """Return a measurement of the chosen plan on the text of the shown run."""
        run, chosen = self.run, self.chosen()
        assert run is not None
        assert chosen is not None
        asked = run.asked(SensitivitySpec)
        return PlanDamageSpec(
            model=asked.model,
            plan=dict(chosen.plan),
            n_samples=(asked.n_samples,),
            text=asked.text,
            calibration=asked.calibration,
            n_windows=asked.n_windows,
            window_tokens=asked.window_tokens,
            seed=asked.seed,
        )

    def check(self) -> None:
        """Raise a ``WorkbenchError`` when there is no such model."""
        model_spec_from(self.plan.model)

    # --- controls -----------------------------------------------------------------------------------------------

    def beside_controls(self) -> Mapping[str, widgets.Widget]:
        """Return the bar of the verification, and what hands clicks in the plot on."""
        self.verification = _Verification(self)
        self.relay = ClickRelay(box_class="wb-mixed", point={}, layout={"display": "none"})
        self.relay.observe(self.guarded(self._clicked), names="point")
        return {"budget": widgets.VBox([self.relay, self.verification.job_bar.box])}

    def choices(self) -> Mapping[str, list[tuple[str, object]]]:
        """Return the units that products were timed for, and the numbers of tokens."""
        costs: list[tuple[str, object]] = [(label, unit) for unit, label in UNITS.items()]
        for p in self.products:
            where = f"{p.environment.device} · {Path(p.model or '').name}"
            costs.append((gettext("time of products · {where}").format(where=where), TIME + p.id))
        return {"cost": costs, "batch": [(str(b), b) for b in self._batches(self.state)]}

    def show_controls(self) -> None:
        """Set ranges and choices that go with the unit and the run."""
        run, slider = self.run, self.controls["budget"]
        slider.continuous_update = True
        self.controls["batch"].layout.display = None if self.state.cost.startswith(TIME) else "none"
        if run is not None:
            low, high = _bounds(self._space(run, self.state))
            if (slider.min, slider.max) != (low, high):
                slider.min = min(low, slider.max)
                slider.max, slider.min, slider.step = high, low, step_of(high - low)
        super().show_controls()
        missing, measured = without_kernel(self.products), run.asked(SensitivitySpec).formats if run else MAKEABLE
        for name, button in self.controls["allowed"].buttons.items():
            why = gettext(" · no kernel in {place}").format(place=missing[name]) if name in missing else ""
            button.tooltip = gettext(FORMATS[name].label) + why
            button.layout.display = None if name in measured else "none"
        self.verification.job_bar.allow_run(run is not None)

    def _clicked(self, change: Any) -> None:
        if "x" in change["new"]:
            self.update(budget=float(change["new"]["x"]) * (1 + 1e-6))

    def update(self, **changes: Any) -> None:
        """Take over choices; a dragged budget updates the answer at once and the plot when it rests."""
        if set(changes) != {"budget"} or not self.settle_s or (run := self.run) is None:
            super().update(**changes)
            return
        if self._drawing == threading.get_ident():
            return
        with self._turn:
            self.clear_message()
            self.state = self.settled(replace(self.state, **changes), changes)
            space = self._space(run, self.state)
            view, chosen = self.view(), self._best(space)
            self.show_answer(view)
            set_html(self.tabs_html[0], view.tab(0))  # the recipe must never be another plan's
            x, y = chosen.cost * space.unit.factor, max(chosen.damage, KL_FLOOR)
            self.relay.marker = {"trace": CHOSEN, "x": x, "y": y}
            self._drawing = threading.get_ident()
            self.controls["budget"].value = self.state.budget  # after a click in the plot
            self._drawing = None
        if self._settling is not None:
            self._settling.cancel()
        self._settling = threading.Timer(self.settle_s, self.guarded(lambda: self.show_rest(self.view())))
        self._settling.daemon = True
        self._settling.start()

    # --- answer -------------------------------------------------------------------------------------------------

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run, state = self.run, self.state
        if run is None:
            return self.nothing_measured()
        space = self._space(run, state)
        chosen = self._best(space)
        book = self._once(("ledger", run.id, state.batch), lambda: ledger(run, self.products, batch=state.batch))
        objection = findings.transferred(run, self._timed(state))
        legend, head, cells = findings.heat_rows(space, chosen)
        missing = without_kernel(self.products)
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(findings.plan_verdict(space, chosen, missing=missing, transferred=objection)),
            figures=(lambda: self._plot(space, chosen),),
            beside=heat_map(gettext("The plan, layer by layer"), legend, head, cells),
            table=table(*findings.plan_table(space, book, chosen), highlighted=0),
            tabs=(
                joined(
                    code_block(findings.commands(run.asked(SensitivitySpec).model)),
                    folded(
                        gettext("plan.json ({cost})").format(cost=space.unit.shown(chosen.cost)),
                        code_block(findings.plan_file(chosen)),
                    ),
                    folded(gettext("llm-compressor's recipe"), code_block(findings.plan_recipe(chosen))),
                ),
                lambda: joined(
                    paragraph(AGREEMENT),
                    table(*self._once(("ranks", run.id), lambda: findings.agreement_table(space.layers))),
                ),
            ),
            run=run,
        )

    def _plot(self, space: PlanSpace, chosen: Solution) -> go.Figure:
        """Return the figure of a space, which is made once, with its marker at the chosen plan."""
        fig = self._once(("plot", id(space)), lambda: damage_against_cost(space, chosen))
        return choose(fig, chosen, factor=space.unit.factor)

    def static_controls(self, view: AnswerView) -> Markup:
        """Return the budget, over the best plans."""
        if view.run is None:
            return Markup("")
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


def _bounds(space: PlanSpace) -> tuple[float, float]:
    """Return the smallest and the largest budget of a space, as shown."""
    low, high = space.low * space.unit.factor, max(space.high, space.low * 1.001) * space.unit.factor
    step = step_of(high - low)
    return floor(low / step) * step, ceil(high / step) * step


def step_of(span: float) -> float:
    """Return a round step of the slider, so that round budgets such as 6.0 can be set: one that is not on a step is moved."""
    step = span / N_STEPS
    power = 10.0 ** floor(log10(step))
    return max(m * power for m in (1, 2, 5) if m * power <= step * (1 + 1e-9))
