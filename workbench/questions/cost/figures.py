"""Figures of what a load costs: savings compared with what is claimed for them, and hourly prices."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, MEASURED, PUBLISHED, add_bars, add_line, figure
from workbench.questions.cost.findings.savings import Saving


def savings_and_claims(savings: Sequence[Saving]) -> go.Figure:
    """Return bars of what is saved in this case, and the range that is claimed for each way."""
    saved = [s.saved_fraction for s in savings]
    fig = figure(
        gettext("Savings by technique"),
        subtitle=gettext("bars: ◌ estimated for this load · lines: claimed range"),
        x_title=gettext("saving, % of the price"),
        y_title="",
    )
    add_bars(
        fig,
        [gettext(s.technique) for s in savings],
        [None if s is None else 100 * s for s in saved],
        BEST,
        name=gettext("this load"),
        hover="%{y}: %{x:.0f} %, %{customdata}<extra></extra>",
        width=0.5,
        text=[gettext("not known") if s is None else f"{100 * s:.0f} %" for s in saved],
        textposition="auto",
        insidetextanchor="start",
        customdata=[s.how for s in savings],
    )
    for way in savings:
        name, low, high = gettext(way.technique), way.claimed_low_fraction, way.claimed_high_fraction
        if low is not None and high is not None:
            ends = [100 * low, 100 * high]
            hover = gettext("claimed for {technique}: %{{x:.0f}} %<extra></extra>").format(technique=name)
            marker = {"symbol": "line-ns-open", "size": 16, "line": {"width": 2}}
            style: dict[str, Any] = {"mode": "lines+markers", "line": {"width": 2}, "marker": marker}
            add_line(fig, ends, [name, name], PUBLISHED, name=gettext("claimed"), hover=hover, **style)
    fig.update_xaxes(rangemode="tozero")
    fig.update_yaxes(autorange="reversed")
    return fig


def prices_of_ways(usd_per_hour: Mapping[str, float]) -> go.Figure:
    """Return the hourly prices of ways to have the same machines."""
    fig = figure(
        gettext("Hourly price by way of paying"),
        subtitle=gettext("◌ estimated; an interrupted machine is not paid for"),
        x_title="",
        y_title="USD/h",
    )
    fig.add_bar(
        x=[gettext(way) for way in usd_per_hour],
        y=list(usd_per_hour.values()),
        marker={"color": MEASURED},
        width=0.5,
        text=[f"{v:.2f}" for v in usd_per_hour.values()],
        textposition="auto",
        hovertemplate="%{x}: %{y:.2f} USD/h<extra></extra>",
    )
    fig.update_yaxes(rangemode="tozero")
    return fig
