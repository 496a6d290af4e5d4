"""Figures of a split: the gain by ratio, and over the bandwidth of the link."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.core.statistics import Interval
from workbench.interface.theme import INK, MEASURED, figure, interval_bars
from workbench.questions.tuning.split.findings import SplitAnswer


def _points(fig: go.Figure, x: Sequence[object], gains: Sequence[Interval]) -> go.Figure:
    values = [[100 * v for v in (g.value, g.low, g.high)] for g in gains]
    bars = interval_bars(*([v[i] for v in values] for i in range(3)))
    fig.add_scatter(
        x=list(x),
        y=[v[0] for v in values],
        error_y=bars,
        mode="markers",
        marker={"color": MEASURED, "size": 10, "symbol": "triangle-up"},
        hovertemplate=gettext("%{x}: %{y:.3g} points") + "<extra></extra>",
    )
    return fig.add_hline(y=0, line={"color": INK, "width": 1.5, "dash": "dash"})


def gain_by_ratio(answer: SplitAnswer) -> go.Figure:
    """Return the gain of each ratio over devices that do both, with intervals over loads."""
    fig = figure(
        gettext("Gain by ratio"),
        subtitle=gettext("higher is better · △ simulated, 95 % over loads"),
        x_title=gettext("devices"),
        y_title=gettext("requests within the SLO, points more"),
    )
    own = answer.ratios[1:]
    return _points(fig, [r.label for r in own], [r.gain_fraction for r in own])


def gain_by_bandwidth(answer: SplitAnswer) -> go.Figure:
    """Return the gain of the chosen ratio over the bandwidth of the link."""
    fig = figure(
        gettext("Gain of {label} by bandwidth").format(label=answer.best.label),
        subtitle=gettext("higher is better · △ simulated, 95 % over fresh loads"),
        x_title=gettext("link, GB/s"),
        y_title=gettext("requests within the SLO, points more"),
    )
    _points(fig, [b.bytes_per_s / 1e9 for b in answer.bandwidths], [b.gain_fraction for b in answer.bandwidths])
    return fig.update_xaxes(type="log")
