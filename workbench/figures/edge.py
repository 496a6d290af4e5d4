"""Figures of what compressions of a small model cost and save."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, MEASURED, figure, interval_bars

COLOURS = {"faster": BEST, "slower": FAILURE, "no difference shown": CAUTION, "": MEASURED}


def accuracy_by_time(rows: Sequence[Mapping[str, Any]], *, batch: str) -> go.Figure:
    """Accuracy against the time of a batch; colours say what the gate says.

    Args:
        rows: Variants, with ``accuracy`` (or None) and ``times`` by batch.
        batch: A key of ``times``.
    """
    known = all(r.get("accuracy") is not None for r in rows)
    fig = figure(
        "Accuracy against time" if known else "Time",
        subtitle=f"● measured, batch {batch}; green: really faster than float32 here, red: slower",
        x_title="p50, µs a batch",
        y_title="accuracy, %" if known else "",
    )
    for row in rows:
        times = row["times"][batch]
        value = 100 * row["accuracy"] if known else 0.0
        bars = {}
        if known:
            low, high = (100 * v for v in row["accuracy_interval"])
            bars = {"error_y": interval_bars([value], [low], [high])}
        fig.add_scatter(
            x=[1e6 * times["p50_s"]],
            y=[value if known else row["technique"]],
            mode="markers+text" if known else "markers",
            text=[row["technique"]],
            textposition="top center",
            textfont={"size": 10},
            name=row["technique"],
            marker={"color": COLOURS[times.get("verdict", "")], "size": 11},
            hovertemplate=f"{row['label']}<br>%{{x:.1f}} µs, p99 {1e6 * times['p99_s']:.1f} µs<extra></extra>",
            **bars,
        )
    fig.update_xaxes(type="log")
    return fig


def sizes(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Size of the graph, and compressed as a download has it."""
    fig = figure("Size", subtitle="● as it lies on the disk, and compressed with gzip", x_title="kB", y_title="")
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
