"""Figures of a surge: goodput over time, fair shares of the tenants, and autoscaling rules."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, GRID, INK, MEASURED, PUBLISHED, add_bars, add_line, figure
from workbench.questions.surge.findings import shown_controls
from workbench.questions.surge.rows import OverTime, SurgeResult
from workbench.simulate.autoscaling import Played

COLOURS = (BEST, MEASURED, CAUTION, FAILURE, PUBLISHED)
BROAD_PX = 2.0
CLOSE = 0.08
"""Distance, as a share of an axis, within which points have one label."""
Floats = npt.NDArray[np.float64]


def answered_in_time(times: Mapping[str, OverTime], *, capacity_per_s: float, shown: str, baseline: str) -> go.Figure:
    """Return the requests asked and answered in time by second, with two sets of controls, and what the engine can answer."""
    fig = figure(
        gettext("Requests that met the SLO"),
        subtitle=gettext("● {shown} (green), {baseline} (orange)").format(
            shown=shown_controls(shown), baseline=shown_controls(baseline)
        ),
        x_title=gettext("second in which they were due"),
        y_title="requests/s",
    )
    asked, dotted = times[shown].asked, {"dash": "dot", "shape": "hv"}
    sent, hover = gettext("sent"), gettext("sent %{y}/s<extra></extra>")
    add_line(fig, range(len(asked)), asked, INK, name=sent, hover=hover, line=dotted)
    hover = gettext("%{fullData.name}: %{y}/s met the SLO<extra></extra>")
    for name, colour in ((baseline, CAUTION), (shown, BEST)):
        good, broad = times[name].good, {"width": BROAD_PX, "shape": "hv"}
        add_line(fig, range(len(good)), good, colour, name=shown_controls(name), hover=hover, line=broad)
    fig.add_hline(y=capacity_per_s, line={"color": MEASURED, "dash": "dash"}, annotation_text=gettext("capacity"))
    fig.update_yaxes(rangemode="tozero")
    return fig


def shares_of_tenants(rows: Sequence[SurgeResult]) -> go.Figure:
    """Return the share of its fair share that each tenant got, by set of controls."""
    fig = figure(
        gettext("Goodput of each tenant over its fair share"),
        subtitle=gettext("● measured; max-min fair shares of the capacity"),
        x_title=gettext("goodput over fair share, %"),
        y_title="",
        has_legend=True,
    )
    controls, hover = [shown_controls(r.controls) for r in rows], "%{y}: %{x:.0f} %<extra>%{fullData.name}</extra>"
    for tenant, colour in zip(rows[0].tenants if rows else (), COLOURS, strict=False):
        shares = [100 * r.tenants[tenant].fair_share_fraction for r in rows]
        add_bars(fig, controls, shares, colour, name=tenant, hover=hover)
    fig.add_vline(x=50, line={"color": FAILURE, "dash": "dot"})
    fig.update_layout(barmode="group", bargap=0.25)
    fig.update_yaxes(autorange="reversed")
    return fig


def minutes_and_hours(rules: Mapping[str, Played], best: Sequence[str]) -> go.Figure:
    """Return minutes with SLO misses against GPU hours, one point for each rule; ``best`` are those that no other beats in both."""
    fig = figure(
        gettext("SLO misses against cost"),
        subtitle=gettext("△ simulated; green: no other is better in both"),
        x_title=gettext("GPU hours"),
        y_title=gettext("minutes with SLO misses"),
    )
    names = list(rules)
    fig.add_scatter(
        x=[rules[n].gpu_hours for n in names],
        y=[rules[n].slo_minutes for n in names],
        mode="markers+text",
        text=_numbers([(rules[n].gpu_hours, rules[n].slo_minutes) for n in names]),
        textposition="top right",
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


def _numbers(points: Sequence[tuple[float, float]]) -> list[str]:
    """Return the numbers of points from 1, those of points that lie close together as one label at the rightmost of them."""
    most = [max(p[axis] for p in points) or 1.0 for axis in (0, 1)] if points else []
    labels = [""] * len(points)
    left = list(range(len(points)))
    while left:
        first = left[0]
        near = [i for i in left if all(abs(points[i][k] - points[first][k]) < CLOSE * most[k] for k in (0, 1))]
        labels[max(near, key=lambda i: points[i])] = ", ".join(str(i + 1) for i in near)
        left = [i for i in left if i not in near]
    return labels


def replicas_over_time(replicas: Mapping[str, Floats], needed: Floats, *, every: int = 10) -> go.Figure:
    """Return the replicas that are ready under a few rules, and the offered load in replicas; both for each second.

    So many seconds as ``every`` says are taken together.
    """
    fig = figure(
        gettext("Replicas over time"),
        subtitle=gettext("△ simulated; grey: offered load"),
        x_title=gettext("minutes"),
        y_title=gettext("replicas"),
        has_legend=True,
    )
    n = needed.size // every * every
    minutes = np.arange(0, n, every) / 60
    work, grey = needed[:n].reshape(-1, every).mean(axis=1), GRID.replace("0.25", "0.9")
    offered, hover = gettext("offered load"), gettext("%{y:.1f} replicas<extra></extra>")
    add_line(fig, minutes, work, grey, name=offered, hover=hover, line={"width": 1})
    for (name, course), colour in zip(replicas.items(), COLOURS, strict=False):
        hover = "%{y:.0f}<extra>%{fullData.name}</extra>"
        add_line(fig, minutes, course[:n:every], colour, name=name, hover=hover, line={"shape": "hv"})
    fig.update_yaxes(rangemode="tozero")
    return fig
