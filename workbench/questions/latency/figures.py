"""Figures of a change of latency: by part of a request, and over time."""

import numpy as np
import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, MEASURED, figure
from workbench.questions.latency.findings.latency_split import Split
from workbench.questions.latency.rows import Points

MOST_POINTS = 600


def change_by_part(split: Split) -> go.Figure:
    """Draw a waterfall from the mean end-to-end latency of the healthy load to that of the load in question, by part."""
    fig = figure(
        gettext("Change of latency by part"),
        subtitle=gettext("● measured · mean end-to-end latency"),
        x_title="",
        y_title=gettext("time, ms"),
    )
    level = baseline_s = split.baseline.e2e_s
    bars = [(gettext("healthy<br>load"), 0.0, baseline_s, MEASURED, f"{1000 * baseline_s:.0f}")]
    for part, change in split.by_part_s.items():
        name, colour = gettext(part).replace(" ", "<br>", 1), FAILURE if change > 0 else BEST
        bars.append((name, min(level, level + change), abs(change), colour, f"{1000 * change:+.0f}"))
        level += change
    bars.append(
        (gettext("load in<br>question"), 0.0, split.current.e2e_s, MEASURED, f"{1000 * split.current.e2e_s:.0f}")
    )
    names, bases, heights, colours, texts = zip(*bars, strict=True)
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


def latencies_over_time(
    baseline: Points, current: Points, *, name: str, changed_at_s: float | None, false_alarm_rate: float
) -> go.Figure:
    """Draw each request's latency by when it was due, in both loads.

    Args:
        baseline: Points of the healthy load.
        current: Points of the load in question.
        name: Name of the latency.
        changed_at_s: When the test detects a change in the second load; None: it detects none.
        false_alarm_rate: False alarm rate of the test.
    """
    detected = (
        gettext("no change detected")
        if changed_at_s is None
        else gettext("change detected {seconds:.1f} s after the start").format(seconds=changed_at_s)
    )
    fig = figure(
        name,
        subtitle=gettext(
            "● measured · {detected}<br>CUSUM, {false_alarms:g} % false alarms by the healthy load itself"
        ).format(detected=detected, false_alarms=100 * false_alarm_rate),
        x_title=gettext("due time of the request, s after the start"),
        y_title=f"{name}, ms",
        has_legend=True,
    )
    for load, points, colour, symbol in (
        (gettext("healthy load"), baseline, MEASURED, "circle"),
        (gettext("load in question"), current, FAILURE, "diamond"),
    ):
        kept = points[:: max(1, len(points) // MOST_POINTS)]
        fig.add_scatter(
            x=[t for t, _ in kept],
            y=[1000 * v for _, v in kept],
            mode="markers",
            name=load,
            marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.7},
            hovertemplate=gettext("{load}: %{{y:.0f}} ms at %{{x:.1f}} s").format(load=load) + "<extra></extra>",
        )
        if points:
            fig.add_hline(y=1000 * float(np.median([v for _, v in points])), line={"color": colour, "dash": "dot"})
    if changed_at_s is not None:
        fig.add_vline(x=changed_at_s, line={"color": CAUTION, "width": 2})
    fig.update_yaxes(type="log", dtick=1)
    return fig
