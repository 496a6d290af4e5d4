"""Figures of pictures with captions."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, MEASURED, figure, interval_bars

COLOURS = {"early": CAUTION, "mid": MEASURED, "late": BEST}


def accuracy_by_missing(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Accuracy by share of missing pictures; solid where modalities were dropped in training."""
    fig = figure(
        "When pictures are missing",
        subtitle="● 95 % interval; solid: modalities dropped in training",
        x_title="inputs without their picture, %",
        y_title="accuracy, %",
    )
    for kind in dict.fromkeys(r["fusion"] for r in rows):
        for has_dropout in (True, False):
            own = [r for r in rows if r["fusion"] == kind and r["has_dropout"] == has_dropout]
            y = [100 * r["accuracy"] for r in own]
            fig.add_scatter(
                x=[100 * r["missing"] for r in own],
                y=y,
                mode="lines+markers",
                name=kind + (", dropped" if has_dropout else ""),
                line={"color": COLOURS[kind], "dash": "solid" if has_dropout else "dot"},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * r["accuracy_interval"][1] - v for r, v in zip(own, y, strict=True)],
                    "arrayminus": [v - 100 * r["accuracy_interval"][0] for r, v in zip(own, y, strict=True)],
                    "color": COLOURS[kind],
                    "thickness": 1,
                },
                hovertemplate="%{x:.0f} % missing: %{y:.1f} %<extra>" + kind + "</extra>",
            )
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.25})
    return fig


def ratios(rows: Sequence[Mapping[str, Any]], *, batch: str, title: str) -> go.Figure:
    """How many times as fast, with intervals; the line is 1.

    Args:
        rows: With ``what`` and ``times`` by batch, each with ``ratio`` and ``ratio_interval``.
        batch: A key of ``times``.
        title: What is compared.
    """
    fig = figure(title, subtitle=f"● measured, 95 % interval, batch {batch}", x_title="times as fast", y_title="")
    shown = [r for r in rows if "ratio" in r["times"][batch]]
    x = [r["times"][batch]["ratio"] for r in shown]
    fig.add_scatter(
        x=x,
        y=[r["what"] for r in shown],
        mode="markers",
        marker={
            "size": 11,
            "color": [{"faster": BEST, "slower": FAILURE}.get(r["times"][batch]["verdict"], CAUTION) for r in shown],
        },
        error_x=interval_bars(x, *([r["times"][batch]["ratio_interval"][i] for r in shown] for i in (0, 1))),
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    fig.add_vline(x=1, line={"color": FAILURE, "dash": "dot"})
    fig.update_yaxes(autorange="reversed")
    return fig
