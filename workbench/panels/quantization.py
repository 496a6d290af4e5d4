"""The panel of question 2, whether a lower precision pays on this machine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import HELD_OUT_TEXT
from workbench.catalog.tables import devices
from workbench.core.errors import WorkbenchError
from workbench.core.quantization import METHODS, QuantizationSpec, unavailable_reason
from workbench.experiments.quantization_verdict import KL_LIMITS
from workbench.export.page import page
from workbench.figures.tables import LEGEND, message_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.base import Plot, html, labelled, set_html, show_all
from workbench.panels.choices import OFFERED_MODELS, price_suggestion
from workbench.panels.job_panel import POLL_S, JobPanel
from workbench.panels.quantization_state import QuantizationState, known_runs
from workbench.panels.quantization_view import View, csv_rows, draw, static_page_body
from workbench.panels.shared_view import download_links, run_label
from workbench.telemetry.devices import cpu_device, gpu_devices

KIND = "quantization"


class QuantizationPanel(JobPanel):
    """Controls at the left, the answer at the right; the job lives outside the notebook."""

    def __init__(self, manager: JobManager | None = None, *, n_windows: int = 64, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, manager=manager, poll_s=poll_s)
        self.n_windows = n_windows
        self.cpu, gpus = cpu_device(), gpu_devices()[0]
        self.gpu = gpus[0] if gpus else None
        self.here = self.gpu or self.cpu
        self.runs = known_runs(self.manager.store)
        self.state = QuantizationState(hardware="this:cuda" if self.gpu else "this:cpu")
        self.state = replace(
            self.state, methods=self._possible(), usd_per_hour=price_suggestion(self.state.hardware, self.here.name)[0]
        )
        self._quiet = False
        self._links: dict[str, str] = {}
        self._build()
        self.draw()
        self.attach_to_live_job()

    # --- controls -----------------------------------------------------------------------------------------------

    def _possible(self) -> tuple[str, ...]:
        return tuple(m for m in METHODS if unavailable_reason(m, self.device) is None)

    @property
    def device(self) -> Any:
        """The device of this machine that the choice of hardware names."""
        return self.gpu if self.state.hardware == "this:cuda" and self.gpu else self.cpu

    def _hardware_options(self) -> list[tuple[str, str]]:
        options = [(f"this machine · {self.cpu.name}", "this:cpu")]
        if self.gpu:
            options.insert(0, (f"this machine · {self.gpu.name}", "this:cuda"))
        own = {self.cpu.name, self.gpu.name if self.gpu else ""}
        stored = sorted({r.environment.device for r in self.runs} - own)
        options += [(f"{name} · stored runs", f"stored:{name}") for name in stored]
        return options + [(f"{d.name} · estimate", f"catalog:{d.id}") for d in devices().values() if d.memory_bytes]

    def _build(self) -> None:
        limits = [(f"{k}: mean KL up to {v:g} nat/token", k) for k, v in KL_LIMITS.items()]
        later = {"continuous_update": False}
        self.controls: dict[str, widgets.Widget] = {
            "model": labelled(
                widgets.Combobox,
                "Model (folder or hub id)",
                value=self.state.model,
                options=list(OFFERED_MODELS),
                **later,
            ),
            "hardware": labelled(
                widgets.Dropdown, "Hardware", value=self.state.hardware, options=self._hardware_options()
            ),
            "text": labelled(
                widgets.Text,
                "Text for the accuracy check (UTF-8 file)",
                placeholder=f"{HELD_OUT_TEXT.name} · {self.n_windows} × 512 tokens",
                **later,
            ),
            "limit": labelled(widgets.Dropdown, "Accuracy limit", value=self.state.limit, options=limits),
            "usd_per_hour": labelled(
                widgets.BoundedFloatText,
                "Price, USD per hour",
                value=self.state.usd_per_hour,
                min=1e-4,
                max=1e4,
                step=0.01,
            ),
            "utilisation_fraction": labelled(
                widgets.FloatSlider,
                "Utilisation of the paid time",
                value=0.5,
                min=0.05,
                max=1,
                step=0.05,
                readout_format=".0%",
            ),
            "batch": labelled(widgets.Dropdown, "Batch, sequences decoded together", value=1, options=[1]),
        }
        self.method_buttons = {
            m: widgets.ToggleButton(description=METHODS[m].label, tooltip=METHODS[m].note) for m in METHODS
        }
        self.methods_box = widgets.Box(list(self.method_buttons.values()))
        self.methods_box.add_class("wb-methods")
        self.price_source = html()
        for name, control in self.controls.items():
            control.observe(self.guarded(self._changed(name)), names="value")
        for button in self.method_buttons.values():
            button.observe(self.guarded(self._methods_changed), names="value")
        rows: list[widgets.Widget] = []
        for name, control in self.controls.items():
            rows.append(control)
            if name == "hardware":
                rows += [html("Methods (a dashed one cannot run here)"), self.methods_box]
            if name == "usd_per_hour":
                rows.append(self.price_source)
        left = widgets.VBox([*rows, self.job_bar.box, html(f"<p class='wb-legend'>{LEGEND}</p>")])
        left.add_class("wb-controls")
        self.header, self.answer, self.table, self.tabs_html = html(), html(), html(), [html() for _ in range(5)]
        self.plots = (Plot(), Plot())
        plots = widgets.Box(list(self.plots))
        plots.add_class("wb-plots")
        self.history = widgets.Dropdown(options=[("no run yet", None)], description="Shown", layout={"width": "100%"})
        self.compared = widgets.Dropdown(options=[("nothing", None)], description="Beside it", layout={"width": "100%"})
        self.history.observe(self.guarded(self._history_changed), names="value")
        self.compared.observe(self.guarded(lambda change: self._update(compared_id=change["new"])), names="value")
        self.save = widgets.Button(
            description="Save HTML report", tooltip="Writes one offline HTML file", layout=widgets.Layout(width="auto")
        )
        self.save.on_click(self.guarded(self._save_html))
        tabs = widgets.Tab(
            [
                self.tabs_html[0],
                self.tabs_html[1],
                widgets.VBox([self.history, self.tabs_html[2]]),
                widgets.VBox([self.compared, self.tabs_html[3]]),
                widgets.VBox([self.tabs_html[4], self.save]),
            ],
            titles=("Launch command", "Spec as code", "History", "Compare", "CSV · PNG · HTML"),
        )
        right = widgets.VBox([self.message, self.answer, plots, self.table, tabs])
        right.add_class("wb-view")
        body = widgets.Box([left, right])
        body.add_class("wb-panel")
        body.add_class("wb-quantization")
        self.root.children = (*self.root.children, self.header, body)

    def _changed(self, name: str) -> Callable[[Any], None]:
        def handler(change: Any) -> None:
            changes: dict[str, Any] = {name: change["new"]}
            if name in {"model", "hardware"}:
                changes["run_id"] = None
            if name == "hardware":
                stored = (
                    change["new"].removeprefix("stored:") if change["new"].startswith("stored:") else self.here.name
                )
                changes["usd_per_hour"] = price_suggestion(change["new"], stored)[0]
            self._update(**changes)

        return handler

    def _methods_changed(self, _change: Any) -> None:
        self._update(methods=tuple(m for m, b in self.method_buttons.items() if b.value))

    def _history_changed(self, change: Any) -> None:
        self._update(run_id=change["new"])

    def _update(self, **changes: Any) -> None:
        if self._quiet:
            return
        self.clear_message()
        self.state = replace(self.state, **changes)
        if "hardware" in changes:
            possible = self._possible()
            self.state = replace(self.state, methods=tuple(m for m in self.state.methods if m in possible) or possible)
        self.draw()

    # --- view ---------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw everything from the state; nothing is read back from the widgets."""
        view = draw(self.state, self.runs, here=self.device)
        self._show(view)

    def _show(self, view: View) -> None:
        self._quiet = True
        try:
            show_all(self.plots, view.figures)  # first: drawing is what the reader waits for
            set_html(self.header, view.header)
            set_html(self.answer, view.answer)
            set_html(self.table, view.table)
            for block, content in zip(self.tabs_html, [*view.tabs, self._downloads(view)], strict=True):
                set_html(block, content)
            set_html(
                self.price_source,
                f"<p class='wb-legend'>{price_suggestion(self.state.hardware, self.here.name)[1]}</p>",
            )
            self._show_controls(view)
        finally:
            self._quiet = False

    def _show_controls(self, view: View) -> None:
        batches = view.batches or [1]
        if tuple(self.controls["batch"].options) != tuple(batches):
            self.controls["batch"].options = batches
        if self.state.batch not in batches:
            self.state = replace(self.state, batch=batches[0])
        values = {name: getattr(self.state, name) for name in self.controls}
        for name, control in self.controls.items():
            if control.value != values[name]:
                control.value = values[name]
        for method, button in self.method_buttons.items():
            reason = unavailable_reason(method, self.device) if self.state.hardware.startswith("this") else None
            button.disabled = reason is not None
            button.value = method in self.state.methods and reason is None
            button.description = METHODS[method].label + (" · cannot run here" if reason else "")
            button.tooltip = reason or METHODS[method].note
        for dropdown, chosen, first in (
            (self.history, view.run_id, "no run yet"),
            (self.compared, self.state.compared_id, "nothing"),
        ):
            options = [(run_label(r), r.id) for r in self.runs]
            if dropdown.options != ((first, None), *options):
                dropdown.options = ((first, None), *options)
            if dropdown.value != chosen:
                dropdown.value = chosen
        self.job_bar.allow_run(self.state.hardware.startswith("this"))

    def _downloads(self, view: View) -> str:
        if view.run_id is None:
            return "<p>Nothing to save yet.</p>"
        if view.run_id not in self._links:
            run = next(r for r in self.runs if r.id == view.run_id)
            self._links[view.run_id] = download_links(run, csv_rows(run))
        return self._links[view.run_id]

    def _save_html(self, _button: Any) -> None:
        target = Path.cwd() / f"{KIND}_{self.state.run_id or 'latest'}.html"
        body = static_page_body(self.state, self.runs, here=self.device)
        try:
            target.write_text(
                page("Does a lower precision pay?", body, footer="Saved from the panel."), encoding="utf-8"
            )
        except OSError as error:
            raise WorkbenchError(
                f"{target} cannot be written: {error}.",
                remedy="Free disk space or open the notebook from a writable folder.",
            ) from error
        set_html(self.message, message_card("info", "Saved.", str(target), "One file, no network needed."))

    @property
    def plan(self) -> QuantizationSpec:
        """The measurement that the choices ask for."""
        return self.state.spec(n_windows=self.n_windows)

    def static_html(self) -> str:
        """The panel for a report."""
        return static_page_body(self.state, self.runs, here=self.device)

    # --- jobs ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The model is one, before a job is started."""
        model_spec_from(self.state.model)

    def attached(self, view: JobView) -> None:
        """Choose the methods that the running job measures."""
        self._update(methods=tuple(view.spec["methods"]))

    def shown_run_id(self) -> str | None:
        """Id of the run that is shown now."""
        return draw(self.state, self.runs, here=self.device).run_id

    def finished(self, view: JobView) -> None:
        """Show the new run and keep the one before it for comparison."""
        previous = self.shown_run_id()
        self.runs = known_runs(self.manager.store)
        self.state = replace(self.state, run_id=view.id, compared_id=previous)
        self.draw()


def panel(**options: Any) -> QuantizationPanel:
    """The quantization panel, attached to a run that is still going."""
    return QuantizationPanel(**options)
