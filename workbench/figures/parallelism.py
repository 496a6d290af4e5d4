"""Figures of plans for a load, and of predictions over measurements."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.serving_speed import styles_of
from workbench.figures.theme import BEST, CAUTION, figure

Row = Mapping[str, Any]


def cost_and_speed(plans: Sequence[Row], *, frontier: Sequence[Row], tpot_promise_s: float) -> go.Figure:
    """Every feasible plan by cost and time per token; the ones that no other beats are joined.

    Args:
        plans: With ``label``, ``device_name``, ``usd_per_hour`` and ``tpot_s``.
        frontier: Those that no other beats in both, cheapest first.
        tpot_promise_s: Where the line stands.
    """
    fig = figure(
        "Cost and speed of plans",
        subtitle="lower left is better · ◌ estimated · diamonds: beaten by none",
        x_title="cost of all replicas, USD/h",
        y_title="time per token, ms",
    )
    for name, (colour, symbol) in styles_of(list(dict.fromkeys(p["device_name"] for p in plans))).items():
        mine = [p for p in plans if p["device_name"] == name]
        fig.add_scatter(
            x=[p["usd_per_hour"] for p in mine],
            y=[p["tpot_s"] * 1e3 for p in mine],
            mode="markers",
            name=name,
            text=[p["label"] for p in mine],
            marker={"color": colour, "symbol": symbol, "size": 8, "opacity": 0.75},
            hovertemplate="%{text}: %{x:.2f} USD/h, %{y:.3g} ms<extra></extra>",
        )
    fig.add_scatter(
        x=[p["usd_per_hour"] for p in frontier],
        y=[p["tpot_s"] * 1e3 for p in frontier],
        mode="lines+markers",
        name="beaten by none",
        text=[p["label"] for p in frontier],
        line={"color": BEST, "width": 2, "dash": "dash"},
        marker={"color": BEST, "symbol": "diamond", "size": 11},
        hovertemplate="%{text}: %{x:.2f} USD/h, %{y:.3g} ms<extra></extra>",
    )
    fig.add_hline(y=tpot_promise_s * 1e3, line={"color": CAUTION, "width": 1.5, "dash": "dot"})
    fig.update_xaxes(type="log", tickangle=0, tickvals=[m * 10.0**e for e in range(-1, 5) for m in (1, 2, 5)])
    fig.update_yaxes(rangemode="tozero")
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.18, "font": {"size": 11}}, height=460)
    return fig


def predicted_and_measured(rows: Sequence[Row], *, level: float) -> go.Figure:
    """Predictions with their intervals beside measurements of the same cells.

    Args:
        rows: With ``label``, ``batch``, ``measured_s``, ``predicted_s``, ``low_s``, ``high_s`` of one context.
        level: Nominal coverage of the intervals.
    """
    fig = figure(
        "Predicted and measured",
        subtitle=f"● measured · ◌ line and band: estimated, {100 * level:.0f} %",
        x_title="sequences decoded together",
        y_title="time per token, ms",
    )
    for name, (colour, symbol) in styles_of(list(dict.fromkeys(r["label"] for r in rows))).items():
        mine = sorted((r for r in rows if r["label"] == name), key=lambda r: r["batch"])
        x = [r["batch"] for r in mine]
        fig.add_scatter(
            x=[*x, *x[::-1]],
            y=[r["high_s"] * 1e3 for r in mine] + [r["low_s"] * 1e3 for r in mine[::-1]],
            mode="lines",
            fill="toself",
            line={"width": 0, "color": colour},
            opacity=0.15,
            hoverinfo="skip",
            showlegend=False,
            name=name,
        )
        fig.add_scatter(
            x=x,
            y=[r["predicted_s"] * 1e3 for r in mine],
            mode="lines",
            line={"color": colour, "width": 1.5, "dash": "dash"},
            showlegend=False,
            name=f"{name}, estimated",
            hovertemplate=f"{name}, batch %{{x}}: estimated %{{y:.3g}} ms<extra></extra>",
        )
        fig.add_scatter(
            x=x,
            y=[r["measured_s"] * 1e3 for r in mine],
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 8},
            name=name,
            hovertemplate=f"{name}, batch %{{x}}: measured %{{y:.3g}} ms<extra></extra>",
        )
    batches = sorted({r["batch"] for r in rows})
    fig.update_xaxes(type="log", tickvals=batches, tickangle=0)
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.18, "font": {"size": 11}}, height=460)
    return fig
