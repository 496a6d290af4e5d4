"""Figures of long contexts: memory and waiting times by context; and what all figures over a context share."""

from collections.abc import Mapping, Sequence
from math import log10

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.core.units import GIB
from workbench.interface.theme import (
    BEST,
    CAUTION,
    FAILURE,
    INK,
    MEASURED,
    add_trace,
    figure,
    set_second_part,
    styles_of,
)
from workbench.questions.long_context.rows import Series, Served

MOST_TICKS = 7
HEIGHT_PX = 520
"""Of all figures over a context."""


def tokens_label(n: int) -> str:
    """Return a length as readers say it: 512, 4k, 128k."""
    if n >= 2**20 and n % 2**20 == 0:
        return f"{n // 2**20}M"
    return f"{n // 1024}k" if n >= 1024 and n % 1024 == 0 else f"{n / 1000:.0f}k" if n >= 10_000 else str(n)


def set_length_axis(fig: go.Figure, lengths: Sequence[int], *, marked: int | None = None) -> None:
    """Make the x axis a logarithmic one of tokens with the measured lengths on it, and a line at a marked length."""
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
        if marked is not None and ticks[0] <= marked <= ticks[-1]:
            fig.add_vline(x=marked, line={"color": INK, "width": 1, "dash": "dot"})


def set_log_axis(fig: go.Figure) -> None:
    """Make the y axis logarithmic, with powers of ten on it."""
    fig.update_yaxes(type="log", exponentformat="power", dtick=1, tickfont={"size": 10})


def add_line(
    fig: go.Figure,
    name: str,
    points: Mapping[int, float] | Mapping[float, float],
    style: tuple[str, str],
    unit: str,
    **more: object,
) -> None:
    """Add a line with markers: y by x, in a colour and with a symbol; ``unit`` is of y, with the format of the number."""
    look = {"line_width": 1.5, "marker": {"color": style[0], "symbol": style[1], "size": 7}, "mode": "lines+markers"}
    hover = gettext("{name}, %{{x:.0f}} tokens: {value}<extra></extra>").format(name=name, value=unit)
    x, y = list(points), list(points.values())
    add_trace(fig, "scatter", x=x, y=y, name=name, line_color=style[0], hovertemplate=hover, **look | more)


def memory_by_context(
    *,
    cache_bytes: Mapping[int, float],
    weight_bytes: float,
    memory_bytes: float,
    context_tokens: int,
    measured: Mapping[int, float],
) -> go.Figure:
    """Return weights and KV cache of all sequences over the context of each, and the memory of the devices.

    Args:
        cache_bytes: KV cache of all sequences, by tokens of each sequence.
        weight_bytes: Weights of the whole model on the devices, with workspace and reserve.
        memory_bytes: Memory of the devices together.
        context_tokens: Where the line stands.
        measured: Bytes that PyTorch took, by context.
    """
    fig = figure(
        gettext("Memory by context"),
        subtitle=gettext("◌ estimated · ● allocated · dotted: memory of the devices"),
        x_title=gettext("context of each sequence, tokens"),
        y_title=gettext("memory, GiB"),
        has_legend=True,
        height=HEIGHT_PX,
    )
    contexts = list(cache_bytes)
    total = {n: (weight_bytes + b) / GIB for n, b in cache_bytes.items()}
    weights = dict.fromkeys(contexts, weight_bytes / GIB)
    gib = "%{y:.3g} GiB"
    add_line(
        fig,
        gettext("weights and KV cache"),
        total,
        (MEASURED, "circle"),
        gib,
        line_width=2,
        mode="lines",
        line_dash="dash",
    )
    add_line(
        fig, gettext("weights, workspace, reserve"), weights, (CAUTION, "circle"), gib, mode="lines", line_dash="dash"
    )
    if measured:
        taken = {n: b / GIB for n, b in measured.items()}
        add_line(fig, gettext("allocated by PyTorch"), taken, (BEST, "circle"), gib, mode="markers", marker_size=9)
    fig.add_hline(y=memory_bytes / GIB, line={"color": FAILURE, "width": 1.5, "dash": "dot"})
    set_length_axis(fig, contexts, marked=context_tokens)
    return fig.update_yaxes(rangemode="tozero")


def waiting_times(series: Series, *, context_tokens: int) -> go.Figure:
    """Return the time to first token over the context, and below it that of a decode step, by how a model was run."""
    fig = figure(
        gettext("Time to first token (TTFT)"),
        subtitle=gettext("lower is better · ● measured · ○ prefix cached"),
        x_title=gettext("context, tokens"),
        y_title=gettext("TTFT, s"),
        has_legend=True,
        height=HEIGHT_PX,
    )
    for (name, rows), style in zip(series.items(), styles_of(list(series)).values(), strict=True):
        add_line(fig, name, {r.length_tokens: r.ttft_s for r in rows}, style, "%{y:.3g} s", legendgroup=name)
        if cached := {r.length_tokens: r.ttft_prefix_s for r in rows if isinstance(r, Served)}:
            look = {"line_width": 1, "line_dash": "dot", "legendgroup": name, "showlegend": False}
            add_line(
                fig,
                gettext("{name}, prefix cached").format(name=name),
                cached,
                (style[0], f"{style[1]}-open"),
                "%{y:.3g} s",
                **look,
            )
        step_ms = {r.length_tokens: 1e3 * r.step_p50_s for r in rows}
        unit = gettext("%{y:.3g} ms per token")
        add_line(fig, name, step_ms, style, unit, yaxis="y2", legendgroup=name, showlegend=False)
    set_log_axis(fig)
    set_second_part(fig, gettext("TPOT p50, ms"), dtick=None, tickvals=[1, 2, 5, 10, 20, 50, 100, 200, 500])
    lengths = [r.length_tokens for rows in series.values() for r in rows]
    set_length_axis(fig, lengths, marked=context_tokens)
    return fig
