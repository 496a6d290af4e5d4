"""Figures of a surge: what was answered in time, who got what, and rules for scaling."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from workbench.core.surge import WAYS
from workbench.figures.theme import BEST, CAUTION, FAILURE, GRID, INK, MEASURED, PUBLISHED, figure

COLOURS = (BEST, MEASURED, CAUTION, FAILURE, PUBLISHED)
BROAD_PX = 2.0


def answered_in_time(
    times: Mapping[str, Mapping[str, Sequence[float]]], *, capacity_per_s: float, shown: str, beside: str
) -> go.Figure:
    """Requests asked and answered in time by second, with one way and another, and what the engine can answer.

    Args:
        times: By way: ``asked`` and ``good`` for each second.
        capacity_per_s: Requests a second.
        shown: Way in question.
        beside: Way that it is compared with.
    """
    fig = figure(
        "Answered in time",
        subtitle=f"● {WAYS[shown]} (green), {WAYS[beside]} (orange)",
        x_title="second in which they were asked",
        y_title="requests/s",
    )
    asked = list(times[shown]["asked"])
    fig.add_scatter(
        x=list(range(len(asked))),
        y=asked,
        mode="lines",
        line={"color": INK, "dash": "dot", "shape": "hv"},
        name="asked",
        hovertemplate="asked %{y}/s<extra></extra>",
    )
    for way, colour in ((beside, CAUTION), (shown, BEST)):
        good = list(times[way]["good"])
        fig.add_scatter(
            x=list(range(len(good))),
            y=good,
            mode="lines",
            line={"color": colour, "width": BROAD_PX, "shape": "hv"},
            name=WAYS[way],
            hovertemplate=f"{WAYS[way]}: %{{y}}/s in time<extra></extra>",
        )
    fig.add_hline(y=capacity_per_s, line={"color": MEASURED, "dash": "dash"}, annotation_text="what it can answer")
    fig.update_yaxes(rangemode="tozero")
    return fig


def shares_of_tenants(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """What every tenant got of its fair share, by way."""
    fig = figure(
        "What each tenant gets of its fair share",
        subtitle="● measured; max-min fair, by what each asked",
        x_title="of its fair share, %",
        y_title="",
    )
    tenants = list(rows[0]["tenants"]) if rows else []
    for tenant, colour in zip(tenants, COLOURS, strict=False):
        fig.add_bar(
            y=[WAYS[r["way"]] for r in rows],
            x=[100 * r["tenants"][tenant]["of_fair"] for r in rows],
            orientation="h",
            name=tenant,
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.0f} %<extra>" + tenant + "</extra>",
        )
    fig.add_vline(x=50, line={"color": FAILURE, "dash": "dot"})
    fig.update_layout(barmode="group", showlegend=True, legend={"orientation": "h", "y": -0.25}, bargap=0.25)
    fig.update_yaxes(autorange="reversed")
    return fig


def minutes_and_hours(rows: Mapping[str, Mapping[str, Any]], best: Sequence[str]) -> go.Figure:
    """Minutes of broken promises against GPU hours, one point for each rule.

    Args:
        rows: By rule: ``slo_minutes`` and ``gpu_hours``.
        best: Rules that no other beats in both.
    """
    fig = figure(
        "Broken promises against cost",
        subtitle="△ simulated; green: no other is better in both",
        x_title="GPU hours",
        y_title="minutes with late requests",
    )
    names = list(rows)
    fig.add_scatter(
        x=[rows[n]["gpu_hours"] for n in names],
        y=[rows[n]["slo_minutes"] for n in names],
        mode="markers+text",
        text=[str(i + 1) for i in range(len(names))],
        textposition="top center",
        marker={
            "symbol": "triangle-up-open",
            "size": 11,
            "line": {"width": 2},
            "color": [BEST if n in best else MEASURED for n in names],
        },
        customdata=names,
        hovertemplate="%{customdata}: %{y:.1f} min, %{x:.1f} h<extra></extra>",
    )
    fig.update_yaxes(rangemode="tozero")
    return fig


def replicas_over_time(
    replicas: Mapping[str, "np.ndarray[Any, Any]"], needed: "np.ndarray[Any, Any]", *, every: int = 10
) -> go.Figure:
    """Replicas that are ready under a few rules, and the work that arrives.

    Args:
        replicas: By rule, for each second.
        needed: Work that arrives, in replicas, for each second.
        every: Seconds that are taken together.
    """
    fig = figure(
        "Replicas over time", subtitle="△ simulated; grey: work that arrives", x_title="minutes", y_title="replicas"
    )
    n = needed.size // every * every
    minutes = np.arange(0, n, every) / 60
    fig.add_scatter(
        x=minutes,
        y=needed[:n].reshape(-1, every).mean(axis=1),
        mode="lines",
        line={"color": GRID.replace("0.25", "0.9"), "width": 1},
        name="work",
        hovertemplate="%{y:.1f} replicas' work<extra></extra>",
    )
    for (name, course), colour in zip(replicas.items(), COLOURS, strict=False):
        fig.add_scatter(
            x=minutes,
            y=course[:n:every],
            mode="lines",
            line={"color": colour, "shape": "hv"},
            name=name,
            hovertemplate="%{y:.0f}<extra>" + name + "</extra>",
        )
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.25, "font": {"size": 11}})
    fig.update_yaxes(rangemode="tozero")
    return fig
