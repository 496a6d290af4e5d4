"""The panel of question 1, which serving engine fits a load."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import model_spec_from
from workbench.core.engine_sweep import STARTABLE, EngineSweepSpec, engine_label
from workbench.core.errors import WorkbenchError
from workbench.engines import environments
from workbench.export.page import page
from workbench.figures.engines import requests_as_they_happen
from workbench.figures.tables import LEGEND, message_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.base import Plot, html, labelled, set_html, show_all
from workbench.panels.choices import OFFERED_MODELS, price_suggestion
from workbench.panels.engines_view import (
    KIND,
    EnginesState,
    csv_rows,
    draw,
    known_sweeps,
    shown_run,
    static_page_body,
    sweep_label,
)
from workbench.panels.job_panel import POLL_S, JobPanel
from workbench.panels.shared_view import download_links
from workbench.telemetry.devices import chosen_device


class EnginesPanel(JobPanel):
    """Controls at the left, the answer at the right; a change of the promise needs no new run."""

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, manager=manager, poll_s=poll_s)
        self.device = chosen_device("auto")
        self.missing = self._missing()
        self.state = EnginesState(engines=tuple(e for e in STARTABLE if e not in self.missing))
        self.runs = known_sweeps(self.manager.store)
        self._quiet = False
        self._points: list[Any] = []
        self._live_title = ""
        self._build()
        self.draw()
        self.attach_to_live_job()

    def _missing(self) -> dict[str, str]:
        """Engines that cannot be started here, with the reason."""
        missing = {}
        for engine in environments.INSTALLABLE:
            try:
                if environments.find(engine, device=self.device.kind) is None:
                    missing[engine] = f"not installed: workbench engines install {engine}"
            except WorkbenchError as error:
                missing[engine] = str(error)
        if self.device.kind != "cpu":
            missing["onnx"] = "runs on the CPU only"
        return missing

    def _build(self) -> None:
        later = {"continuous_update": False}
        s = self.state
        self.controls: dict[str, widgets.Widget] = {
            "model": labelled(
                widgets.Combobox, "Model (folder or hub id)", value=s.model, options=list(OFFERED_MODELS), **later
            ),
            "also": labelled(
                widgets.Text,
                "Also (URLs, or an engine with settings)",
                value=s.also,
                placeholder="http://host:8000, vllm --max-num-seqs 8",
                **later,
            ),
            "input_tokens": labelled(
                widgets.BoundedIntText, "Prompt, tokens", value=s.input_tokens, min=1, max=100_000
            ),
            "output_tokens": labelled(
                widgets.BoundedIntText, "Answer, tokens", value=s.output_tokens, min=2, max=100_000
            ),
            "slo_ttft_ms": labelled(
                widgets.BoundedFloatText, "Promise: first token within, ms", value=s.slo_ttft_ms, min=1, max=600_000
            ),
            "slo_tpot_ms": labelled(
                widgets.BoundedFloatText,
                "Promise: each further token within, ms",
                value=s.slo_tpot_ms,
                min=0.1,
                max=60_000,
            ),
            "attainment_fraction": labelled(
                widgets.FloatSlider,
                "Promise: kept for this share",
                value=s.attainment_fraction,
                min=0.5,
                max=0.99,
                step=0.01,
                readout_format=".0%",
                **later,
            ),
            "usd_per_hour": labelled(
                widgets.BoundedFloatText, "Price, USD per hour", value=s.usd_per_hour, min=1e-4, max=1e4, step=0.01
            ),
        }
        for name, control in self.controls.items():
            control.observe(self.guarded(self._changed(name)), names="value")
        self.engine_buttons = {e: widgets.ToggleButton(description=engine_label(e)) for e in STARTABLE}
        for button in self.engine_buttons.values():
            button.observe(self.guarded(self._engines_changed), names="value")
        buttons = widgets.Box(list(self.engine_buttons.values()))
        buttons.add_class("wb-methods")
        names = list(self.controls)
        rows: list[widgets.Widget] = [
            self.controls[names[0]],
            html("Engines (a dashed one cannot start here)"),
            buttons,
        ]
        rows += [self.controls[n] for n in names[1:]]
        legend = html(f"<p class='wb-legend'>{LEGEND}</p>")
        left = widgets.VBox([*rows, self.job_bar.box, legend])
        left.add_class("wb-controls")
        self.header, self.answer, self.table = html(), html(), html()
        self.tabs_html = [html() for _ in range(5)]
        self.plots, self.live = (Plot(), Plot()), Plot()
        self.live.layout.display = "none"
        plots = widgets.Box([self.live, *self.plots])
        plots.add_class("wb-plots")
        self.history = widgets.Dropdown(options=[("no run yet", None)], description="Shown", layout={"width": "100%"})
        self.history.observe(self.guarded(lambda change: self._update(run_id=change["new"])), names="value")
        self.save = widgets.Button(description="Save HTML report", tooltip="Writes one offline HTML file")
        self.save.layout.width = "auto"
        self.save.on_click(self.guarded(self._save_html))
        tabs = widgets.Tab(
            [
                self.tabs_html[0],
                self.tabs_html[1],
                widgets.VBox([self.history, self.tabs_html[2]]),
                self.tabs_html[3],
                widgets.VBox([self.tabs_html[4], self.save]),
            ],
            titles=("Launch commands", "Spec as code", "History", "Engines", "CSV · PNG · HTML"),
        )
        right = widgets.VBox([self.message, self.answer, plots, self.table, tabs])
        right.add_class("wb-view")
        body = widgets.Box([left, right])
        body.add_class("wb-panel")
        self.root.children = (*self.root.children, self.header, body)

    def _changed(self, name: str) -> Callable[[Any], None]:
        def handler(change: Any) -> None:
            changes: dict[str, Any] = {name: change["new"]}
            if name == "model":
                changes["run_id"] = None
            self._update(**changes)

        return handler

    def _engines_changed(self, _change: Any) -> None:
        self._update(engines=tuple(e for e, b in self.engine_buttons.items() if b.value))

    def _update(self, **changes: Any) -> None:
        if self._quiet:
            return
        self.clear_message()
        self.state = replace(self.state, **changes)
        if "model" in changes or "run_id" in changes:
            run = shown_run(self.state, self.runs)
            name = run.environment.device if run else self.device.name
            self.state = replace(self.state, usd_per_hour=price_suggestion("", name)[0])
        self.draw()

    def draw(self) -> None:
        """Draw everything from the state; nothing is read back from the widgets."""
        view = draw(self.state, self.runs, here=self.device.name)
        self._quiet = True
        try:
            show_all(self.plots, view.figures)  # first: drawing is what the reader waits for
            set_html(self.header, view.header)
            set_html(self.answer, view.answer)
            set_html(self.table, view.table)
            links = download_links(view.run, csv_rows(view.run)) if view.run else "<p>Nothing to save yet.</p>"
            for block, content in zip(self.tabs_html, [*view.tabs, links], strict=True):
                set_html(block, content)
            for name, control in self.controls.items():
                if control.value != getattr(self.state, name):
                    control.value = getattr(self.state, name)
            for engine, button in self.engine_buttons.items():
                reason = self.missing.get(engine)
                button.disabled, button.tooltip = reason is not None, reason or ""
                button.value = engine in self.state.engines and reason is None
            options = (("no run yet", None), *((sweep_label(r), r.id) for r in self.runs))
            if self.history.options != options:
                self.history.options = options
            self.history.value = view.run.id if view.run else None
        finally:
            self._quiet = False

    def _save_html(self, _button: Any) -> None:
        target = Path.cwd() / f"{KIND}_{self.state.run_id or 'latest'}.html"
        try:
            target.write_text(
                page("Which serving engine fits my load?", self.static_html(), footer="Saved from the panel."),
                encoding="utf-8",
            )
        except OSError as error:
            raise WorkbenchError(
                f"{target} cannot be written: {error}.",
                remedy="Free disk space or open the notebook from a writable folder.",
            ) from error
        set_html(self.message, message_card("info", "Saved.", str(target), "One file, no network needed."))

    @property
    def plan(self) -> EngineSweepSpec:
        """The measurement that the choices ask for."""
        return self.state.spec()

    def static_html(self) -> str:
        """The panel for a report."""
        return static_page_body(self.state, self.runs, here=self.device.name)

    def check(self) -> None:
        """The model is one, before servers are started."""
        model_spec_from(self.state.model)

    def attached(self, view: JobView) -> None:
        """Choose the engines that the running job measures."""
        asked = view.spec["engines"]
        own = tuple(e for e in asked if e in STARTABLE)
        self._update(engines=own, also=", ".join(e for e in asked if e not in STARTABLE))

    def progressed(self, view: JobView) -> None:
        """Draw the requests that ended since, as they happen."""
        found = view.result
        if not found.get("engine"):
            return
        title = f"{engine_label(found['engine'])} at {found['rate_per_s']:.3g} requests/s"
        if title != self._live_title:
            self._live_title, self._points = title, []
        known = {p["index"] for p in self._points}
        fresh = [p for p in found.get("finished", []) if p["index"] not in known]
        if fresh:
            self._points += fresh
            self.live.layout.display = None
            self.live.show(requests_as_they_happen(self._points, title=title, ttft_s=self.state.slo_ttft_ms / 1e3))

    def finished(self, view: JobView) -> None:
        """Show the new run."""
        self.live.layout.display = "none"
        self.runs = known_sweeps(self.manager.store)
        self.state = replace(self.state, run_id=view.id)
        self.draw()


def panel(**options: Any) -> EnginesPanel:
    """The engines panel, attached to a run that is still going."""
    return EnginesPanel(**options)
