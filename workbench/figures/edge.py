"""Figures of what compressions of a small model cost and save."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, MEASURED, figure, interval_bars

COLOURS = {"faster": BEST, "slower": FAILURE, "no difference shown": CAUTION}


def speed(rows: Sequence[Mapping[str, Any]], *, batch: str) -> go.Figure:
    """How many times as fast as the float network, with intervals; colours say what the gate says.

    Args:
        rows: Variants, with ``times`` by batch; the float network has no ratio.
        batch: A key of ``times``.
    """
    fig = figure(
        "Really faster here?",
        subtitle=f"● batch {batch}, 95 % interval; green: faster, red: slower",
        x_title="times as fast as float32",
        y_title="",
    )
    shown = [r for r in rows if "ratio" in r["times"][batch]]
    times = [r["times"][batch] for r in shown]
    x = [t["ratio"] for t in times]
    fig.add_scatter(
        x=x,
        y=[r["technique"] for r in shown],
        mode="markers",
        marker={"color": [COLOURS[t["verdict"]] for t in times], "size": 11},
        error_x=interval_bars(x, [t["ratio_interval"][0] for t in times], [t["ratio_interval"][1] for t in times]),
        hovertemplate="%{y}: %{x:.2f} times as fast<extra></extra>",
    )
    fig.add_vline(x=1, line={"color": FAILURE, "dash": "dot"})
    fig.update_xaxes(type="log", dtick="D2")
    fig.update_yaxes(autorange="reversed")
    return fig


def accuracies(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Accuracy with intervals; red where a paired test finds it worse than the float network's.

    Args:
        rows: Variants whose ``accuracy`` is known.
    """
    fig = figure("Accuracy", subtitle="● held-out, 95 % interval; red: worse by a paired test", x_title="%", y_title="")
    x = [100 * r["accuracy"] for r in rows]
    fig.add_scatter(
        x=x,
        y=[r["technique"] for r in rows],
        mode="markers",
        marker={"color": [FAILURE if r["is_worse"] else MEASURED for r in rows], "size": 11},
        error_x=interval_bars(
            x, [100 * r["accuracy_interval"][0] for r in rows], [100 * r["accuracy_interval"][1] for r in rows]
        ),
        hovertemplate="%{y}: %{x:.2f} %<extra></extra>",
    )
    fig.update_yaxes(autorange="reversed")
    return fig


def sizes(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Size of the graph, and compressed as a download has it."""
    fig = figure("Size", subtitle="● on the disk, and with gzip", x_title="kB", y_title="")
    names = [r["technique"] for r in rows]
    for key, name, colour in (("n_bytes", "graph", MEASURED), ("gzip_bytes", "compressed", CAUTION)):
        if all(r.get(key) is not None for r in rows):
            fig.add_bar(
                y=names,
                x=[r[key] / 1e3 for r in rows],
                orientation="h",
                name=name,
                marker={"color": colour},
                hovertemplate="%{y}: %{x:.0f} kB<extra>" + name + "</extra>",
            )
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.2}, barmode="group")
    fig.update_yaxes(autorange="reversed")
    return fig
