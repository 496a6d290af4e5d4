"""The panel that says which compression of a model helps on a small device, and how to run it."""

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.core.edge import OWN_MODEL, EdgeSpec
from workbench.core.runs import Run
from workbench.figures.edge import accuracies, sizes, speed
from workbench.figures.tables import message_card
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerView
from workbench.panels.base import labelled
from workbench.panels.edge_view import (
    adaptive_table,
    batches_of,
    claims_table,
    guarantees,
    rows_of,
    runtimes,
    settings,
    settings_table,
    variant_table,
    verdict,
)
from workbench.panels.job_panel import BEGINS_ANEW, POLL_S
from workbench.panels.run_list import RunListPanel
from workbench.panels.shared_view import code_block

KIND = "edge"
TITLE = "What helps on a small device?"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    batch: str = "1"
    model: str = OWN_MODEL
    data: str = ""
    threads: int = 1
    latency_ms: float = 0.0
    memory_mib: float = 0.0
    power_w: float = 0.0


class EdgePanel(RunListPanel):
    """Run trains, compresses and measures; limits decide what is chosen."""

    cancelled_note = BEGINS_ANEW
    n_plots = 3
    tab_titles = (
        "Settings under limits",
        "Guarantees and few labels",
        "Runtimes",
        "Claims beside",
        "On a command line",
        "Spec as code",
    )

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-edge", manager=manager, poll_s=poll_s)
        self.state = EdgeState(run_id=self.first_id)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.first_id, options=self.options()),
            "batch": labelled(widgets.Dropdown, "Batch that is drawn", value="1", options=["1", "256"]),
            "model": labelled(widgets.Text, 'Model: "digits", an .onnx file, or a folder', value=OWN_MODEL, **later),
            "data": labelled(widgets.Text, "Inputs for a graph (.npz), if any", value="", **later),
            "threads": labelled(widgets.BoundedIntText, "Threads", value=1, min=1, max=256, **later),
            "latency_ms": labelled(
                widgets.BoundedFloatText, "Most p99, ms (0: any)", value=0.0, min=0, max=1e6, **later
            ),
            "memory_mib": labelled(
                widgets.BoundedFloatText, "Most memory, MiB (0: any)", value=0.0, min=0, max=1e6, **later
            ),
            "power_w": labelled(widgets.BoundedFloatText, "Most power, W (0: any)", value=0.0, min=0, max=1e4, **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def label(self, run: Run) -> str:
        """Model, device and time."""
        return f"{Path(run.spec['model']).name} · {super().label(run)}"

    @property
    def plan(self) -> EdgeSpec:
        """What Run measures."""
        s = self.state
        batches = (1, 256) if s.model == OWN_MODEL else (1, 32)
        return EdgeSpec(
            model=s.model.strip(),
            data=s.data.strip() or None,
            threads=s.threads,
            batches=batches,
            latency_ms=s.latency_ms or None,
            memory_mib=s.memory_mib or None,
            power_w=s.power_w or None,
        )

    def settled(self, state: Any, changes: dict[str, Any]) -> Any:  # noqa: ARG002
        """A batch that the run has not is replaced."""
        run = next((r for r in self.runs if r.id == state.run_id), None)
        known = batches_of(run) if run else ["1"]
        return state if state.batch in known else replace(state, batch=known[0])

    def show_controls(self) -> None:
        """Batches of the run."""
        control: Any = self.controls["batch"]
        known = batches_of(self.run) if self.run else ["1"]
        if list(control.options) != known:
            control.options = known
        super().show_controls()

    def view(self) -> AnswerView:
        """The answer to the state."""
        run, tabs = self.run, (code_block(command(self.plan)), code_block(self.plan.as_code()))
        if run is None or not rows_of(run, "variant"):
            card = message_card("caution", "Nothing was measured yet.", "Press Run.", "It takes about two minutes.")
            return AnswerView(
                header=f"<h2>{TITLE}</h2>", answer=card, figures=(), table="", tabs=("", "", "", "", *tabs), run=None
            )
        variants = rows_of(run, "variant")
        kept = settings(run, self.state)
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>● measured on {escape(run.environment.cpu)}, {run.spec['threads']} thread"
            f"{'s' if run.spec['threads'] > 1 else ''}, run {run.id}, {run.day}</p>",
            answer=verdict(variants, kept, self.state.batch),
            figures=(
                lambda: speed(variants, batch=self.state.batch),
                lambda: sizes(variants),
                *([] if variants[0].get("accuracy") is None else [lambda: accuracies(variants)]),
            ),
            table=variant_table(variants, self.state.batch),
            tabs=(
                lambda: settings_table(kept) + adaptive_table(run),
                lambda: guarantees(run),
                lambda: runtimes(run),
                lambda: claims_table(variants),
                *tabs,
            ),
            run=run,
        )


def command(plan: EdgeSpec) -> str:
    """The same on a command line."""
    parts = [f"workbench edge {plan.model}"]
    if plan.data:
        parts.append(f"--data {plan.data}")
    if plan.threads != 1:
        parts.append(f"--threads {plan.threads}")
    for name, value in (("latency-ms", plan.latency_ms), ("memory-mib", plan.memory_mib), ("power-w", plan.power_w)):
        if value:
            parts.append(f"--{name} {value:g}")
    line = " ".join(parts)
    return f"{line}\n{line} --export FOLDER   # the chosen model with its settings and a script that checks it"


def panel(**options: Any) -> EdgePanel:
    """The panel, on the newest run."""
    return EdgePanel(**options)
