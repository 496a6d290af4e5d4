"""Figures of vLLM's steps by precision, batch and context."""

import itertools
from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, figure

STYLES = (
    (INK, "circle"),
    (MEASURED, "square"),
    ("#56B4E9", "diamond"),
    (FAILURE, "triangle-up"),
    (CAUTION, "triangle-down"),
    (BEST, "star"),
    (PUBLISHED, "cross"),
    ("#8c6d31", "x"),
)
"""Colour and symbol by place in the run: plain first, eight bits blue, four bits warm, mixed green."""


def styles_of(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a symbol for each precision."""
    return dict(zip(names, itertools.cycle(STYLES), strict=False))


def time_per_token(
    rows: Sequence[Mapping[str, Any]], *, context_tokens: int, styles: Mapping[str, tuple[str, str]], best: str | None
) -> go.Figure:
    """Median time per output token over the batch by precision, with the least time that the device allows.

    Args:
        rows: Results with roofline at one context.
        context_tokens: That context.
        styles: Colour and symbol by precision.
        best: The precision whose floor is drawn.
    """
    fig = figure(
        "Time per output token",
        subtitle=f"lower is better · ● at {context_tokens} tokens · ◌ dotted: roofline",
        x_title="sequences decoded together",
        y_title="time per output token, ms (median)",
    )
    for name, (colour, symbol) in styles.items():
        mine = sorted((r for r in rows if r["served"] == name), key=lambda r: r["batch"])
        if not mine:
            continue
        fig.add_scatter(
            x=[r["batch"] for r in mine],
            y=[r["tpot_p50_s"] * 1e3 for r in mine],
            mode="lines+markers",
            name=mine[0]["label"],
            line={"color": colour, "width": 1.5},
            marker={"color": colour, "symbol": symbol, "size": 8},
            hovertemplate=f"{mine[0]['label']}, batch %{{x}}: %{{y:.3g}} ms<extra></extra>",
        )
    floor = sorted((r for r in rows if r["served"] == best and "step_floor_s" in r), key=lambda r: r["batch"])
    if floor:
        fig.add_scatter(
            x=[r["batch"] for r in floor],
            y=[r["step_floor_s"] * 1e3 for r in floor],
            mode="lines",
            name="roofline",
            line={"color": INK, "width": 1.5, "dash": "dot"},
            hovertemplate="roofline, batch %{x}: %{y:.3g} ms<extra></extra>",
        )
    _batches(fig, [r["batch"] for r in rows])
    fig.update_yaxes(type="log", tickvals=[m * 10.0**e for e in range(-2, 4) for m in (1, 2, 5)])
    return fig


def gain_over_plain(
    gains: Mapping[str, Sequence[tuple[int, float]]],
    *,
    labels: Mapping[str, str],
    styles: Mapping[str, tuple[str, str]],
) -> go.Figure:
    """How many times as fast as BF16 each precision is, over the batch; under 1 it does not pay.

    Args:
        gains: Batch and factor by precision.
        labels: Names by precision.
        styles: Colour and symbol by precision.
    """
    fig = figure(
        "Gain over BF16",
        subtitle="higher is better · ● measured",
        x_title="sequences decoded together",
        y_title="times as fast as BF16",
    )
    for name, points in gains.items():
        colour, symbol = styles[name]
        ordered = sorted(points)
        fig.add_scatter(
            x=[b for b, _ in ordered],
            y=[f for _, f in ordered],
            mode="lines+markers",
            name=labels[name],
            line={"color": colour, "width": 1.5},
            marker={"color": colour, "symbol": symbol, "size": 8},
            hovertemplate=f"{labels[name]}, batch %{{x}}: %{{y:.2f}}×<extra></extra>",
        )
    _label_ends(fig, {labels[name]: max(points) for name, points in gains.items() if points})
    fig.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dot"})
    _batches(fig, [b for points in gains.values() for b, _ in points], room=0.75)
    return fig


def _label_ends(fig: go.Figure, ends: Mapping[str, tuple[int, float]]) -> None:
    """Names beside the last points, pushed apart so that none covers another."""
    if not ends:
        return
    heights = [factor for _, factor in ends.values()]
    gap = 0.07 * max(max(heights) - min(heights), 0.2)
    place = float("-inf")
    for name, (batch, factor) in sorted(ends.items(), key=lambda item: item[1][1]):
        place = max(factor, place + gap)
        fig.add_annotation(
            x=log10(batch), y=place, text=f" {name}", showarrow=False, xanchor="left", font={"size": 11, "color": INK}
        )


def _batches(fig: go.Figure, batches: Sequence[int], *, room: float = 0.05) -> None:
    if batches:
        low, high = log10(min(batches)), log10(max(batches))
        span = high - low or 1.0
        fig.update_xaxes(
            type="log", tickvals=sorted(set(batches)), tickangle=0, range=[low - 0.05 * span, high + room * span]
        )
