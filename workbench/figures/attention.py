"""Figures of attention techniques over length."""

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import INK, PUBLISHED, figure

MOST_TICKS = 7
TALL_PX = 520
Row = Mapping[str, Any]
Styles = Mapping[str, tuple[str, str]]


def tokens_label(n: int) -> str:
    """Lengths as readers say them: 512, 4k, 128k."""
    if n >= 2**20 and n % 2**20 == 0:
        return f"{n // 2**20}M"
    return f"{n // 1024}k" if n >= 1024 and n % 1024 == 0 else f"{n / 1000:.0f}k" if n >= 10_000 else str(n)


def length_axis(fig: go.Figure, lengths: Sequence[int]) -> None:
    """A logarithmic axis of tokens with the measured lengths on it."""
    if lengths:
        ticks = sorted(set(lengths))
        shown = ticks if len(ticks) <= MOST_TICKS else ticks[::2]
        low, high = log10(ticks[0]), log10(ticks[-1])
        span = high - low or 1.0
        fig.update_xaxes(
            type="log",
            tickvals=shown,
            ticktext=[tokens_label(n) for n in shown],
            tickangle=0,
            range=[low - 0.04 * span, high + 0.04 * span],
        )


def time_and_memory(cells: Sequence[Row], *, phase: str, length_tokens: int, styles: Styles) -> go.Figure:
    """Time of one layer's attention over length, and below it the peak memory; both zoom together.

    Args:
        cells: Measured cells of one phase.
        phase: "prefill" or "decode".
        length_tokens: Where the line stands.
        styles: Colour and symbol by technique.
    """
    what = "read a whole prompt" if phase == "prefill" else "make one token"
    with_memory = any(r.get("peak_bytes") for r in cells)
    fig = figure(
        f"Time to {what}, one layer",
        subtitle="lower is better · ● measured, median" + (" · below: peak memory" if with_memory else ""),
        x_title="context, tokens",
        y_title="time, ms",
    )
    for name, (colour, symbol) in styles.items():
        mine = sorted((r for r in cells if r["technique"] == name), key=lambda r: r["length_tokens"])
        if not mine:
            continue
        look = {
            "mode": "lines+markers",
            "line": {"color": colour, "width": 1.5},
            "marker": {"color": colour, "symbol": symbol, "size": 7},
            "legendgroup": name,
        }
        x, label = [r["length_tokens"] for r in mine], mine[0]["label"]
        fig.add_scatter(
            x=x,
            y=[r["p50_s"] * 1e3 for r in mine],
            name=label,
            hovertemplate=f"{label}, %{{x}} tokens: %{{y:.3g}} ms<extra></extra>",
            **look,
        )
        if with_memory:
            fig.add_scatter(
                x=x,
                y=[(r.get("peak_bytes") or 0) / 2**30 for r in mine],
                name=label,
                yaxis="y2",
                showlegend=False,
                hovertemplate=f"{label}, %{{x}} tokens: %{{y:.3g}} GiB<extra></extra>",
                **look,
            )
    length_axis(fig, [r["length_tokens"] for r in cells])
    fig.add_vline(x=length_tokens, line={"color": INK, "width": 1, "dash": "dot"})
    fig.update_yaxes(type="log", exponentformat="power", dtick=1, tickfont={"size": 10})
    if with_memory:
        second = dict(fig.layout.yaxis.to_plotly_json())
        second |= {"domain": [0.0, 0.4], "anchor": "x", "title": {"text": "peak memory, GiB", "font": {"size": 12}}}
        fig.update_layout(yaxis={"domain": [0.46, 1.0]}, yaxis2=second, xaxis={"anchor": "y2"})
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.16, "font": {"size": 11}}, height=TALL_PX)
    return fig


def ceiling_share(cells: Sequence[Row], *, phase: str, length_tokens: int, styles: Styles) -> go.Figure:
    """Share of the device's ceiling that each technique reaches over length.

    Args:
        cells: Measured cells of one phase.
        phase: "prefill" or "decode".
        length_tokens: Where the line stands.
        styles: Colour and symbol by technique.
    """
    ceiling = "matrix rate" if phase == "prefill" else "copy bandwidth"
    fig = figure(
        f"Share of the {ceiling}",
        subtitle="higher is better · ● both measured in one process",
        x_title="context, tokens",
        y_title=f"% of the {ceiling}",
    )
    for name, (colour, symbol) in styles.items():
        mine = [r for r in cells if r["technique"] == name and "ceiling_fraction" in r]
        if mine:
            fig.add_scatter(
                x=[r["length_tokens"] for r in mine],
                y=[100 * r["ceiling_fraction"] for r in mine],
                mode="lines+markers",
                name=mine[0]["label"],
                line={"color": colour, "width": 1.5},
                marker={"color": colour, "symbol": symbol, "size": 7},
                hovertemplate=f"{mine[0]['label']}, %{{x}} tokens: %{{y:.0f}} %<extra></extra>",
            )
    length_axis(fig, [r["length_tokens"] for r in cells])
    fig.add_vline(x=length_tokens, line={"color": INK, "width": 1, "dash": "dot"})
    fig.update_yaxes(rangemode="tozero")
    fig.update_layout(height=TALL_PX)
    return fig


def found_by_length(rows: Sequence[Row], *, labels: Mapping[str, str], styles: Styles, length_tokens: int) -> go.Figure:
    """Share of hidden facts that are found over length, by variant.

    Args:
        rows: Retrieval rows of a quality run.
        labels: Names by variant.
        styles: Colour and symbol by variant.
        length_tokens: Where the line stands.
    """
    fig = figure(
        "What is still found",
        subtitle="higher is better · ● all depths and tasks together",
        x_title="context, tokens",
        y_title="answers right, %",
    )
    lengths = sorted({r["length_tokens"] for r in rows})
    for name, (colour, symbol) in styles.items():
        mine = [[r for r in rows if r["variant"] == name and r["length_tokens"] == n] for n in lengths]
        if all(mine):
            fig.add_scatter(
                x=lengths,
                y=[100 * sum(r["right_fraction"] * r["n"] for r in c) / sum(r["n"] for r in c) for c in mine],
                mode="lines+markers",
                name=labels[name],
                line={"color": colour, "width": 1.5},
                marker={"color": colour, "symbol": symbol, "size": 7},
                hovertemplate=f"{labels[name]}, %{{x}} tokens: %{{y:.0f}} %<extra></extra>",
            )
    length_axis(fig, lengths)
    if lengths and lengths[0] <= length_tokens <= lengths[-1]:
        fig.add_vline(x=length_tokens, line={"color": PUBLISHED, "width": 1, "dash": "dot"})
    fig.update_yaxes(range=[-3, 103])
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.16, "font": {"size": 11}}, height=TALL_PX)
    return fig
