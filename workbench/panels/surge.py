"""The panel that says what a surge does to a server, and which controls help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal

import ipywidgets as widgets

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.runs import Run
from workbench.core.surge import WAYS, SurgeSpec
from workbench.core.units import shown_duration
from workbench.figures.surge import answered_in_time, shares_of_tenants
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import BEGINS_ANEW, POLL_S
from workbench.panels.shared_view import code_block, run_label, runs_of_kind

KIND = "surge"
TITLE = "What happens when more comes than it can do?"
LEAST_GOODPUT, LEAST_SHARE = 0.9, 0.5
WATCHED_TO_THE_END_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    way: str = "all"
    model: str = str(REFERENCE_MODEL)
    engine: Literal["torch", "vllm"] = "torch"
    overload: float = 3.0
    surge_s: float = 15.0
    slo_ttft_s: float = 1.5
    max_num_seqs: int = 8
    trace: str = ""


class SurgePanel(AnswerPanel):
    """Run sends a surge through the gateway to an engine of this machine, once for every way."""

    cancelled_note = BEGINS_ANEW
    tab_titles = ("By tenant", "As limits of vLLM", "On a command line", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-surge", manager=manager, poll_s=poll_s)
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = SurgeState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.state.run_id, options=self._options()),
            "way": labelled(widgets.Dropdown, "Compared with no gateway", value="all", options=_ways(tuple(WAYS)[1:])),
            "model": labelled(widgets.Text, "Model folder", value=self.state.model, **later),
            "engine": labelled(widgets.Dropdown, "Engine", value="torch", options=["torch", "vllm"]),
            "overload": labelled(
                widgets.FloatSlider, "Surge, times what it can answer", value=3.0, min=1.0, max=5.0, step=0.5, **later
            ),
            "surge_s": labelled(widgets.BoundedFloatText, "Surge, s", value=15.0, min=3, max=600, **later),
            "slo_ttft_s": labelled(
                widgets.BoundedFloatText, "Promise: first token within, s", value=1.5, min=0.05, max=60, **later
            ),
            "max_num_seqs": labelled(widgets.BoundedIntText, "Requests at once", value=8, min=1, max=512, **later),
            "trace": labelled(widgets.Text, "Trace (Azure CSV), else Poisson", value="", **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _options(self) -> list[tuple[str, str | None]]:
        return [(run_label(r), r.id) for r in self.runs] or [("nothing measured yet", None)]

    def _shown(self) -> Run | None:
        return next((r for r in self.runs if r.id == self.state.run_id), None)

    @property
    def plan(self) -> SurgeSpec:
        """What Run sends."""
        s = self.state
        return SurgeSpec(
            model=s.model,
            engine=s.engine,
            overload=s.overload,
            surge_s=s.surge_s,
            slo_ttft_s=s.slo_ttft_s,
            max_num_seqs=s.max_num_seqs,
            trace=s.trace or None,
        )

    def finished(self, view: JobView) -> None:
        """Show the run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.update(run_id=view.id)

    def settled(self, state: SurgeState, changes: dict[str, Any]) -> SurgeState:  # noqa: ARG002
        """A way that the shown run has."""
        run = next((r for r in self.runs if r.id == state.run_id), None)
        known = [r["way"] for r in run.results if r["way"] != "direct"] if run is not None else list(WAYS)[1:]
        return state if state.way in known or not known else replace(state, way=known[-1])

    def show_controls(self) -> None:
        """What there is to choose from."""
        run = self._shown()
        offers: dict[str, list[Any]] = {
            "run_id": self._options(),
            "way": _ways([r["way"] for r in run.results if r["way"] != "direct"] if run else tuple(WAYS)[1:]),
        }
        for name, options in offers.items():
            if list(self.controls[name].options) != options:
                self.controls[name].options = options
        super().show_controls()

    def view(self) -> AnswerView:
        """The answer to the state."""
        run, header = self._shown(), f"<h2>{TITLE}</h2>"
        tabs = (code_block(command(self.plan)), code_block(self.plan.as_code()))
        if run is None or not run.results:
            card = message_card("caution", "No surge was sent yet.", "Press Run.", "It takes about four minutes.")
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", "", *tabs), run=run)
        found, times = run.samples["capacity"], run.samples["over_time"]
        beside = "direct" if "direct" in times else next(iter(times))
        shown = self.state.way if self.state.way in times else beside
        version = run.samples.get("engine_version") or "torch engine"
        return AnswerView(
            header=f"{header}<p class='sub'>● measured on {escape(run.environment.device)}, {escape(version)}, "
            f"{run.spec['overload']:g}× for {run.spec['surge_s']:g} s, run {run.id}, {run.day}</p>",
            answer=verdict(run),
            figures=(
                lambda: answered_in_time(times, capacity_per_s=found["requests_per_s"], shown=shown, beside=beside),
                lambda: shares_of_tenants(run.results),
            ),
            table=_rows(run.results, shown, run.spec["after_s"]),
            tabs=(lambda: _tenants(run.results), _flags(run), *tabs),
            run=run,
        )


def _ways(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(WAYS[n], n) for n in names]


def _percent(x: float | None) -> str:
    return "–" if x is None else f"{100 * x:.0f} %"


def verdict(run: Run) -> str:
    """What the controls change, in a sentence."""
    rows = {r["way"]: r for r in run.results}
    best = max(run.results, key=lambda r: (r["goodput_fraction"], -(r["ttft_p99_s"] or 0)))
    bare = rows.get("direct") or rows.get("open")
    fair = [r for r in run.results if (r["least_of_fair"] or 0) >= LEAST_SHARE]
    within = "" if best["goodput_fraction"] >= LEAST_GOODPUT else " That is below nine tenths of what it can answer."
    told = (
        f" Without a gateway {_percent(bare['goodput_fraction'])}, and {_well_again(bare, run.spec['after_s'])}."
        if bare is not None and bare is not best
        else ""
    )
    return verdict_card(
        f"With “{WAYS[best['way']]}”, {_percent(best['goodput_fraction'])} of what the engine can answer is answered in time at "
        f"{run.spec['overload']:g} times the requests.{told}",
        f"It can answer {run.samples['capacity']['requests_per_s']:.1f} requests/s: the rest is refused in "
        f"{_percent(best['refused_fraction'])} of the cases, with a time after which to come again.{within}",
        f"No tenant is below half its fair share with: {', '.join(WAYS[r['way']] for r in fair) or 'none of the ways'}. "
        "In time: the first token within the promise, the others at no more than three times a full engine's pace.",
        is_stale=False,
    )


def _well_again(row: Mapping[str, Any], after_s: float) -> str:
    """When the last request was late; as long as one looked, it is not known when that ends."""
    if row["recovery_s"] > after_s - WATCHED_TO_THE_END_S:
        return f"not well again {after_s:g} s later"
    return f"well again after {row['recovery_s']:.1f} s"


def _rows(rows: Sequence[Mapping[str, Any]], shown: str, after_s: float) -> str:
    head = (
        "Way ●",
        "in time",
        "first token p50",
        "p99",
        "refused",
        "late",
        "gave up",
        "shortened",
        "least of fair",
        "well again after",
    )
    cells = [
        (
            WAYS[r["way"]],
            _percent(r["goodput_fraction"]),
            "–" if r["ttft_p50_s"] is None else shown_duration(r["ttft_p50_s"]),
            "–" if r["ttft_p99_s"] is None else shown_duration(r["ttft_p99_s"]),
            _percent(r["refused_fraction"]),
            _percent(r["late_fraction"]),
            _percent(r["gave_up_fraction"]),
            _percent(r["degraded_fraction"]),
            _percent(r["least_of_fair"]),
            _well_again(r, after_s).removeprefix("well again after "),
        )
        for r in rows
    ]
    return table(head, cells, highlighted=next((i for i, r in enumerate(rows) if r["way"] == shown), None))


def _tenants(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("Way", "tenant", "asked/s", "fair/s", "in time/s", "of its fair share")
    cells = [
        (
            WAYS[r["way"]],
            escape(name),
            f"{t['asked_per_s']:.1f}",
            f"{t['fair_per_s']:.1f}",
            f"{t['good_per_s']:.1f}",
            _percent(t["of_fair"]),
        )
        for r in rows
        for name, t in r["tenants"].items()
    ]
    return table(head, cells, left=(1,))


def _flags(run: Run) -> str:
    flags, found = run.samples["flags"], run.samples["capacity"]
    line = "vllm serve MODEL " + " ".join(f"{k} {v}" for k, v in flags.items())
    return (
        f"{code_block(line)}<p>From {found['requests_per_s']:.1f} requests/s and {found['prompt_tokens_per_s']:.0f} prompt tokens/s "
        f"measured here, and a first token promised within {run.spec['slo_ttft_s']:g} s. The two limits on what waits exist from vLLM "
        "0.33 on; older ones need a gateway. They refuse with 503, the same for every tenant, and without a time to come again.</p>"
    )


def command(plan: SurgeSpec) -> str:
    """The same on a command line."""
    trace = f" --trace {plan.trace}" if plan.trace else ""
    return (
        f"workbench surge {plan.model} --engine {plan.engine} --overload {plan.overload:g} --seconds {plan.surge_s:g} "
        f"--ttft-s {plan.slo_ttft_s:g} --max-num-seqs {plan.max_num_seqs}{trace}"
    )


def panel(**options: Any) -> SurgePanel:
    """The panel, on the newest run."""
    return SurgePanel(**options)
