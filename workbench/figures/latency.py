"""Figures of a change of latency: where it lies, how it came over time, and who finds causes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, INK, MEASURED, figure

MOST_POINTS = 600


def change_by_part(baseline_s: float, current_s: float, by_part_s: Mapping[str, float]) -> go.Figure:
    """From the time of a whole answer before to that of now, part by part.

    Args:
        baseline_s: Mean of the healthy load.
        current_s: Mean of the one in question.
        by_part_s: What each part added; together the difference.
    """
    fig = figure(
        "Where the change lies",
        subtitle="● measured · mean time of a whole answer",
        x_title="",
        y_title="time, ms",
    )
    names, bases, heights, colours, texts = ["before"], [0.0], [baseline_s], [MEASURED], [f"{1000 * baseline_s:.0f}"]
    level = baseline_s
    for part, change in by_part_s.items():
        names.append(part.replace(" ", "<br>", 1))
        bases.append(min(level, level + change))
        heights.append(abs(change))
        colours.append(FAILURE if change > 0 else BEST)
        texts.append(f"{1000 * change:+.0f}")
        level += change
    names.append("now")
    bases.append(0.0)
    heights.append(current_s)
    colours.append(MEASURED)
    texts.append(f"{1000 * current_s:.0f}")
    fig.add_bar(
        x=names,
        y=[1000 * h for h in heights],
        base=[1000 * b for b in bases],
        marker={"color": colours},
        text=texts,
        textposition="outside",
        cliponaxis=False,
        width=0.7,
        hovertemplate="%{x}: %{text} ms<extra></extra>",
    )
    fig.update_xaxes(tickangle=0, tickfont={"size": 11})
    return fig


def waits_over_time(
    before: Sequence[tuple[float, float]],
    now: Sequence[tuple[float, float]],
    *,
    what: str,
    changed_at_s: float | None,
    false_alarm_rate: float,
) -> go.Figure:
    """Each request's latency by when it came, in both loads.

    Args:
        before: Seconds since the start, and latency in seconds, of the healthy load.
        now: The same of the load in question.
        what: Name of the latency.
        changed_at_s: When a change was noticed in the second one; None: none was.
        false_alarm_rate: Of the test that noticed it.
    """
    noticed = "no change noticed" if changed_at_s is None else f"change noticed {changed_at_s:.1f} s after the start"
    fig = figure(
        what.capitalize(),
        subtitle=f"● measured · {noticed}<br>CUSUM, {100 * false_alarm_rate:g} % false alarms if requests were independent",
        x_title="request came, s after the start",
        y_title="ms",
    )
    for name, points, colour, symbol in (("before", before, MEASURED, "circle"), ("now", now, FAILURE, "diamond")):
        kept = points[:: max(1, len(points) // MOST_POINTS)]
        fig.add_scatter(
            x=[t for t, _ in kept],
            y=[1000 * v for _, v in kept],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.7},
            hovertemplate=f"{name}: %{{y:.0f}} ms at %{{x:.1f}} s<extra></extra>",
        )
        if points:
            fig.add_hline(y=1000 * float(np.median([v for _, v in points])), line={"color": colour, "dash": "dot"})
    if changed_at_s is not None:
        fig.add_vline(x=changed_at_s, line={"color": CAUTION, "width": 2})
    fig.update_yaxes(type="log", dtick=1)
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.22, "font": {"size": 11}})
    return fig


def who_finds_causes(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Top-1, top-3 and false alarms of each way, with 95 % intervals.

    Args:
        rows: Scores with ``method``, and each figure with its ``_interval``.
    """
    fig = figure(
        "Who finds the cause",
        subtitle="● measured on injected faults · bars: 95 % intervals",
        x_title="",
        y_title="share of loads, %",
    )
    for key, name, colour in (
        ("top1", "named it", BEST),
        ("top3", "among the first three", MEASURED),
        ("false_alarms", "alarm on a healthy load", FAILURE),
    ):
        shown = [r for r in rows if r.get(key) is not None]
        fig.add_bar(
            x=[r["method"].replace(" ", "<br>", 1) for r in shown],
            y=[100 * r[key] for r in shown],
            name=name,
            marker={"color": colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * (r[f"{key}_interval"][1] - r[key]) for r in shown],
                "arrayminus": [100 * (r[key] - r[f"{key}_interval"][0]) for r in shown],
                "color": INK,
                "thickness": 1,
            },
            hovertemplate="%{x}: %{y:.0f} %<extra>" + name + "</extra>",
        )
    fig.update_yaxes(range=[0, 105])
    fig.update_xaxes(tickangle=0, tickfont={"size": 11})
    fig.update_layout(barmode="group", showlegend=True, legend={"orientation": "h", "y": -0.2, "font": {"size": 11}})
    return fig
