"""Figures of what a load costs: ways to save beside what is claimed for them, and machines over a day."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.figures.theme import BEST, MEASURED, PUBLISHED, figure


def savings_and_claims(
    techniques: Sequence[str],
    *,
    saved: Sequence[float | None],
    claimed: Sequence[tuple[float | None, float | None]],
    how: Sequence[str],
) -> go.Figure:
    """Bars of what is saved in this case, and the range that is claimed for each way.

    Args:
        techniques: Names.
        saved: Fractions; None where it cannot be done.
        claimed: Low and high fractions.
        how: What was compared, for the pointer.
    """
    fig = figure(
        "What each way to save would save here",
        subtitle="bars: ◌ estimated for this load · lines: claimed",
        x_title="saved, % of the price",
        y_title="",
    )
    fig.add_bar(
        y=list(techniques),
        x=[None if s is None else 100 * s for s in saved],
        orientation="h",
        name="here",
        marker={"color": BEST},
        width=0.5,
        text=["cannot be said" if s is None else f"{100 * s:.0f} %" for s in saved],
        textposition="auto",
        insidetextanchor="start",
        customdata=list(how),
        hovertemplate="%{y}: %{x:.0f} %, %{customdata}<extra></extra>",
    )
    for name, (low, high) in zip(techniques, claimed, strict=True):
        if low is not None and high is not None:
            fig.add_scatter(
                x=[100 * low, 100 * high],
                y=[name, name],
                mode="lines+markers",
                name="claimed",
                line={"color": PUBLISHED, "width": 2},
                marker={"symbol": "line-ns-open", "size": 16, "line": {"width": 2}},
                hovertemplate=f"claimed for {name}: %{{x:.0f}} %<extra></extra>",
            )
    fig.update_xaxes(rangemode="tozero")
    fig.update_yaxes(autorange="reversed")
    return fig


def prices_of_ways(labels: Sequence[str], usd_per_hour: Sequence[float]) -> go.Figure:
    """Hourly prices of ways to have the same machines."""
    fig = figure(
        "The same replicas, had in different ways",
        subtitle="◌ estimated; a machine that is away is not paid for",
        x_title="",
        y_title="USD/h",
    )
    fig.add_bar(
        x=list(labels),
        y=list(usd_per_hour),
        marker={"color": MEASURED},
        width=0.5,
        text=[f"{v:.2f}" for v in usd_per_hour],
        textposition="auto",
        hovertemplate="%{x}: %{y:.2f} USD/h<extra></extra>",
    )
    fig.update_yaxes(rangemode="tozero")
    return fig
