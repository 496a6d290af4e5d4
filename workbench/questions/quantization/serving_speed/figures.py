"""Figures of vLLM's steps by precision, batch and context."""

from collections.abc import Mapping, Sequence
from math import log10

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.estimate.rows import StepTime
from workbench.interface.theme import INK, LOG_TICKS, add_line, add_points, figure

Styles = Mapping[str, tuple[str, str]]
"""Colour and symbol by precision."""


def time_per_token(rows: Sequence[StepTime], *, context_tokens: int, styles: Styles, best: str | None) -> go.Figure:
    """Return the median time per output token over the batch size by precision, with the roofline of ``best``."""
    fig = figure(
        gettext("Time per output token"),
        subtitle=gettext("lower is better · ● at {context} tokens · ◌ dotted: roofline").format(context=context_tokens),
        x_title=gettext("decode batch size, sequences"),
        y_title=gettext("time per output token, ms (median)"),
    )
    for name, style in styles.items():
        own = [r for r in rows if r.served == name]
        if own:
            points = [(r.batch, r.tpot_p50_s.value * 1e3) for r in own]
            _add_points(fig, points, name=gettext(own[0].label), style=style, shown="%{y:.3g} ms")
    floor = sorted((r.batch, r.roofline.step_floor_s * 1e3) for r in rows if r.served == best and r.roofline)
    if floor:
        hover, look = gettext("roofline, batch %{x}: %{y:.3g} ms<extra></extra>"), {"width": 1.5, "dash": "dot"}
        batches, least_ms = zip(*floor, strict=True)
        add_line(fig, batches, least_ms, INK, name=gettext("roofline"), hover=hover, line=look)
    _batches(fig, [r.batch for r in rows])
    fig.update_yaxes(type="log", tickvals=LOG_TICKS)
    return fig


def gain_over_plain(
    gains: Mapping[str, Sequence[tuple[int, float]]], *, labels: Mapping[str, str], styles: Styles
) -> go.Figure:
    """Return the speed-up of each precision over BF16, by batch size; below 1 it is slower.

    Args:
        gains: Batch and factor by precision.
        labels: Names by precision.
        styles: See ``Styles``.
    """
    fig = figure(
        gettext("Speed-up over BF16"),
        subtitle=gettext("higher is better · ● measured"),
        x_title=gettext("decode batch size, sequences"),
        y_title=gettext("speed-up over BF16, ×"),
    )
    for name, points in gains.items():
        _add_points(fig, points, name=labels[name], style=styles[name], shown="%{y:.2f}×")
    _label_ends(fig, {labels[name]: max(points) for name, points in gains.items()})
    fig.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dot"})
    _batches(fig, [b for points in gains.values() for b, _ in points], room=0.75)
    return fig


def _add_points(
    fig: go.Figure, points: Sequence[tuple[int, float]], *, name: str, style: tuple[str, str], shown: str
) -> None:
    x, y = zip(*sorted(points), strict=True)
    add_points(
        fig,
        x,
        y,
        style,
        name=name,
        hover=gettext("{format}, batch %{{x}}: {shown}<extra></extra>").format(format=name, shown=shown),
    )


def _label_ends(fig: go.Figure, ends: Mapping[str, tuple[int, float]]) -> None:
    """Write names next to the last points, pushed apart so that none covers another."""
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
