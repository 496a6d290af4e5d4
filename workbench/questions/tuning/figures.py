"""Figures of a tuning run: what settings reach, simulated and measured."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.interface.theme import MEASURED, figure
from workbench.questions.tuning.rows import SettingResult


def front(results: Sequence[SettingResult]) -> go.Figure:
    """Return goodput over TTFT of every setting."""
    fig = figure("Goodput and TTFT of the settings", x_title="TTFT p99, ms", y_title="goodput, requests/s")
    shown = [r for r in results if r.ttft_p99_s is not None and r.goodput_per_s is not None]
    fig.add_scatter(
        x=[1e3 * (r.ttft_p99_s or 0.0) for r in shown],
        y=[r.goodput_per_s for r in shown],
        mode="markers",
        marker={"color": MEASURED, "size": 8},
        text=[r.name for r in shown],
        hovertemplate="%{text}: %{y:.3g} requests/s<extra></extra>",
    )
    return fig
