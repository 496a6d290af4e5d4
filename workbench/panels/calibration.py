"""How much calibration text GPTQ needs, from the newest run that tried several amounts."""

from html import escape
from pathlib import Path

import plotly.graph_objects as go

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.experiments.plan_damage import enough_tokens
from workbench.experiments.plan_space import short_format
from workbench.export.page import figure_div
from workbench.figures.mixed_precision import damage_by_calibration
from workbench.figures.tables import message_card, verdict_card
from workbench.jobs.manager import JobManager
from workbench.panels.base import Panel, Plot, html
from workbench.panels.shared_view import code_block, origin, runs_of_kind

COMMAND = 'workbench verify-plan MODEL --plan \'{"qkv": "w4a16", ...}\' --samples 0,1,2,4,8,16,32,64,128'


class CalibrationPanel(Panel):
    """A curve, what it says, and how to get one's own."""

    def __init__(self, manager: JobManager | None = None) -> None:
        super().__init__()
        runs = runs_of_kind("plan_damage", store=(manager or JobManager()).store, shipped=SHIPPED)
        self.run: Run | None = next((r for r in runs if len(r.results) > 2), None)
        self.plot = Plot()
        parts = [html(self.text())]
        if self.run is not None:
            self.plot.show(self.figure(self.run))
            parts.append(self.plot)
        self.root.children = (*self.root.children, *parts, html(code_block(COMMAND)))

    def text(self) -> str:
        """The verdict, or how to get one."""
        if self.run is None:
            return message_card("info", "No run yet.", "No amounts of calibration text were compared.", COMMAND)
        enough, rows = enough_tokens(self.run.results), list(self.run.results)
        most = max(rows, key=lambda r: r["calibration_tokens"])
        plain = next((r for r in rows if not r["calibration_tokens"]), None)
        against = (
            f"; rounding without any text costs {plain['mean_kl_nat_per_token'] / most['mean_kl_nat_per_token']:.1f} times as much"
            if plain
            else ""
        )
        return verdict_card(
            f"{enough} tokens of calibration text are enough here: more changes KL by less than 5 %.",
            f"KL {three_digits(most['mean_kl_nat_per_token'])} nat/token with {most['calibration_tokens']} tokens{against}; "
            f"{escape(Path(self.run.spec['model']).name)}, {rows[0]['n_windows']} windows, run {self.run.id}, {self.run.day}.",
            "A wider model has larger Hessians to fill: read the curve of the model that you serve.",
            is_stale=False,
        )

    def figure(self, run: Run) -> go.Figure:
        """The curve."""
        formats = ", ".join(dict.fromkeys(short_format(f) for f in run.spec["plan"].values()))
        return damage_by_calibration(run.results, plan_label=f"{formats} everywhere")

    def static_html(self) -> str:
        """The panel for a report."""
        figure = figure_div(self.figure(self.run)) if self.run else ""
        about = f"<details><summary>How it came about</summary>{origin(self.run)}</details>" if self.run else ""
        return f"<div class='wb'>{self.text()}<div class='wb-figures'>{figure}</div>{code_block(COMMAND)}{about}</div>"


def panel(manager: JobManager | None = None) -> CalibrationPanel:
    """The curve of the newest run."""
    return CalibrationPanel(manager)
