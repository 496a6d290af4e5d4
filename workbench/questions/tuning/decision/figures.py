"""The figure of a decision: both bills over the mean request rate."""

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, INK, MEASURED, figure
from workbench.questions.tuning.decision.findings import Decision

MOST_RATIO = 1.0


def bills_by_utilization(answer: Decision, *, mean_fraction: float) -> go.Figure:
    """Return the bill of a month over the mean rate, with the present one and the break-even marked."""
    fig = figure(
        gettext("Bill of a month by utilization"),
        subtitle=gettext("lower is better · ◌ estimated · dashed: your mean rate"),
        x_title=gettext("mean request rate, % of the peak"),
        y_title=gettext("USD a month"),
    )
    whole = answer.api.usd_per_month / mean_fraction
    fig.add_scatter(
        x=[0, 100],
        y=[0, MOST_RATIO * whole],
        mode="lines+text",
        text=["", "API"],
        textposition="top left",
        line={"color": MEASURED},
        name="API",
    )
    own = answer.own.usd_per_month
    fig.add_scatter(
        x=[0, 100],
        y=[own, own],
        mode="lines+text",
        text=[gettext("own devices"), ""],
        textposition="top right",
        line={"color": BEST},
        name=gettext("own devices"),
    )
    if answer.break_even_fraction <= 1:
        fig.add_scatter(
            x=[100 * answer.break_even_fraction],
            y=[own],
            mode="markers",
            marker={"color": INK, "size": 11, "symbol": "diamond"},
            hovertemplate=gettext("break-even at %{x:.3g} % of the peak") + "<extra></extra>",
        )
    fig.add_vline(x=100 * mean_fraction, line={"color": INK, "dash": "dash", "width": 1.5})
    return fig.update_yaxes(rangemode="tozero")
