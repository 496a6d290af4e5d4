"""Figures of what pictures cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, figure

PARTS = {
    "accept_s": ("processor (host)", CAUTION),
    "encoder_s": ("encoder", MEASURED),
    "projector_s": ("projector", PUBLISHED),
    "prompt_s": ("language model", BEST),
}
CACHE_COLOURS = {"none": INK, "encoder": MEASURED, "prefix": BEST}


def ttft_parts(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Stacked parts of the time to the first token, and what was predicted.

    Args:
        rows: Measured cells with ``label``.
    """
    fig = figure(
        "Time to the first token, by part",
        subtitle="● measured, median; ◇ predicted from other sizes",
        x_title="ms",
        y_title="",
    )
    names = [r["label"] for r in rows]
    for key, (name, colour) in PARTS.items():
        fig.add_bar(
            y=names,
            x=[1e3 * r[key] for r in rows],
            orientation="h",
            name=name,
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.1f} ms<extra>" + name + "</extra>",
        )
    fig.add_scatter(
        y=names,
        x=[1e3 * r["predicted_ttft_s"] for r in rows],
        mode="markers",
        name="predicted",
        marker={"symbol": "diamond-open", "size": 9, "color": FAILURE},
        hovertemplate="%{y}: %{x:.1f} ms<extra>predicted</extra>",
    )
    fig.update_layout(barmode="stack", showlegend=True, legend={"orientation": "h", "y": -0.18})
    fig.update_yaxes(autorange="reversed")
    return fig


def time_by_hit_rate(
    streams: Sequence[Mapping[str, Any]], evens: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> go.Figure:
    """Mean time by share of pictures seen before, a line for each cache; the crossing with none is the break-even."""
    fig = figure(
        "When a cache of pictures pays",
        subtitle="● measured mean, 95 % interval; dotted: from the two ends",
        x_title="pictures seen before, %",
        y_title="time to the first token, ms",
    )
    for cache in dict.fromkeys(s["cache"] for s in streams):
        own = [s for s in streams if s["cache"] == cache]
        x, y = [100 * s["hit_rate"] for s in own], [1e3 * s["ttft_mean_s"] for s in own]
        low, high = ([1e3 * s["ttft_mean_interval_s"][i] for s in own] for i in (0, 1))
        fig.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            name=names[cache],
            line={"color": CACHE_COLOURS[cache]},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [b - a for a, b in zip(y, high, strict=True)],
                "arrayminus": [a - b for a, b in zip(y, low, strict=True)],
                "color": CACHE_COLOURS[cache],
                "thickness": 1,
            },
            hovertemplate="%{x:.0f} %: %{y:.1f} ms<extra>" + names[cache] + "</extra>",
        )
    for even in evens:
        fig.add_scatter(
            x=[0, 100],
            y=[1e3 * even["missed_s"], 1e3 * even["hit_s"]],
            mode="lines",
            showlegend=False,
            line={"color": CACHE_COLOURS[even["cache"]], "dash": "dot"},
            hoverinfo="skip",
        )
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.25})
    fig.update_yaxes(rangemode="tozero")
    return fig


def tokens_by_size(sizes: Sequence[int], tokens: Mapping[str, Sequence[int]], *, shown: int | None = None) -> go.Figure:
    """Tokens of a square picture by its side, a line for each model."""
    fig = figure(
        "Tokens of a picture",
        subtitle="◌ computed as the models' processors do",
        x_title="side of a square picture, pixels",
        y_title="tokens",
    )
    colours = (MEASURED, BEST, CAUTION, FAILURE, PUBLISHED, INK)
    for i, (name, values) in enumerate(tokens.items()):
        fig.add_scatter(
            x=list(sizes),
            y=list(values),
            mode="lines",
            name=name,
            line={"color": colours[i % len(colours)], "width": 3 if i == shown else 1.5},
            hovertemplate="%{x} px: %{y} tokens<extra>" + name + "</extra>",
        )
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.4})
    return fig
