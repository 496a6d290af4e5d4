"""Figures of a search for the best batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, INK, MEASURED, figure

Row = Mapping[str, Any]
STYLES = {
    "fits": (MEASURED, "circle", "fits"),
    "latency": (CAUTION, "x", "above the time limit"),
    "memory": (FAILURE, "x", "above the memory limit"),
}


def throughput_and_step(rows: Sequence[Row], *, best: int | None, latency_ms: float | None) -> go.Figure:
    """Sequences a second above, time of a step below, by batch; the numbers say in which order they were tried.

    Args:
        rows: Trials in order, with ``batch``, ``status``, ``sequences_per_s`` and ``p90_s`` where steps ended.
        best: The batch that was found.
        latency_ms: The limit, if any.
    """
    fig = figure(
        "Throughput and step by batch",
        subtitle="● measured · higher is better above, lower below",
        x_title="batch, sequences",
        y_title="sequences/s",
    )
    for status, (colour, symbol, label) in STYLES.items():
        mine = [r for r in rows if r["status"] == status and r.get("p50_s")]
        for key, axis, factor, unit in (("sequences_per_s", "y", 1.0, "sequences/s"), ("p90_s", "y2", 1e3, "ms")):
            fig.add_scatter(
                x=[r["batch"] for r in mine],
                y=[r[key] * factor for r in mine],
                yaxis=axis,
                mode="markers",
                name=label,
                marker={"color": colour, "symbol": symbol, "size": 9},
                showlegend=axis == "y" and bool(mine),
                hovertemplate=f"batch %{{x}}, {label}: %{{y:.3g}} {unit}<extra></extra>",
            )
    chosen = [r for r in rows if r["batch"] == best and r.get("p50_s")]
    if chosen:
        fig.add_scatter(
            x=[best],
            y=[sorted(r["sequences_per_s"] for r in chosen)[len(chosen) // 2]],
            mode="markers+text",
            name="best",
            text=[f"{best}  "],
            textposition="middle left",
            cliponaxis=False,
            marker={"color": BEST, "symbol": "diamond", "size": 14},
            hovertemplate="best: batch %{x}, %{y:.3g} sequences/s<extra></extra>",
        )
    second = fig.layout.yaxis.to_plotly_json() | {"domain": [0.0, 0.4], "anchor": "x", "rangemode": "tozero"}
    second["title"] = {"text": "step p90, ms", "font": {"size": 12}}
    ticks = sorted({r["batch"] for r in rows})
    fig.update_layout(
        yaxis={"domain": [0.48, 1.0], "rangemode": "tozero"},
        yaxis2=second,
        xaxis={"anchor": "y2", "type": "log", "tickvals": [t for t in ticks if t & (t - 1) == 0]},
        showlegend=True,
        legend={"orientation": "h", "y": -0.18, "font": {"size": 11}},
        height=530,
    )
    if latency_ms is not None:
        fig.add_shape(
            type="line",
            xref="paper",
            yref="y2",
            x0=0,
            x1=1,
            y0=latency_ms,
            y1=latency_ms,
            line={"color": CAUTION, "width": 1.5, "dash": "dot"},
        )
    return fig


def memory_by_batch(rows: Sequence[Row], *, limit_bytes: float) -> go.Figure:
    """Measured peaks, and what was predicted for each batch before it was tried.

    Args:
        rows: Trials, with ``peak_bytes`` and ``predicted_bytes`` (None where there was nothing to predict from).
        limit_bytes: Of the device.
    """
    fig = figure(
        "Memory, predicted and measured",
        subtitle="● measured · ◌ predicted from smaller batches",
        x_title="batch, sequences",
        y_title="peak, GiB",
    )
    gib = 2.0**30
    predicted = {r["batch"]: r["predicted_bytes"] for r in rows if r.get("predicted_bytes")}
    fig.add_scatter(
        x=list(predicted),
        y=[v / gib for v in predicted.values()],
        mode="markers",
        name="predicted",
        marker={"color": INK, "symbol": "circle-open", "size": 11},
        hovertemplate="batch %{x}: predicted %{y:.3g} GiB<extra></extra>",
    )
    fig.add_scatter(
        x=[r["batch"] for r in rows],
        y=[r["peak_bytes"] / gib for r in rows],
        mode="markers",
        name="measured",
        marker={"color": MEASURED, "size": 7},
        hovertemplate="batch %{x}: measured %{y:.3g} GiB<extra></extra>",
    )
    highest = max([r["peak_bytes"] for r in rows] + list(predicted.values()), default=0.0)
    if limit_bytes < 2 * highest:
        fig.add_hline(y=limit_bytes / gib, line={"color": FAILURE, "width": 1.5, "dash": "dot"})
    fig.update_yaxes(rangemode="tozero")
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.18, "font": {"size": 11}}, height=530)
    return fig
