"""Figures of plans for a load, and of predictions over measurements."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.estimate.search import Plan
from workbench.interface.theme import (
    BEST,
    CAUTION,
    FAILURE,
    LOG_TICKS,
    MEASURED,
    add_bars,
    add_line,
    add_trace,
    figure,
    styles_of,
)
from workbench.questions.parallelism.findings.beside import PredictedCell
from workbench.questions.parallelism.findings.prefix_cache import CacheSizes
from workbench.questions.parallelism.findings.sensitivity import Sensitivity
from workbench.simulate.planned import plan_label
from workbench.simulate.summary import OverTime

LEGEND_BELOW: dict[str, Any] = {"has_legend": True, "height": 460}
ROUTINGS = {
    "round robin": gettext("round robin"),
    "least loaded": gettext("least loaded"),
    "cache aware": gettext("cache aware"),
}


def cost_and_speed(plans: Sequence[Plan], *, frontier: Sequence[Plan], slo_tpot_s: float) -> go.Figure:
    """Return every plan by cost and time per token; the ones that no other beats are joined.

    Args:
        plans: Feasible ones with a price.
        frontier: Those that no other beats in both, cheapest first.
        slo_tpot_s: Where the line of the SLO stands.
    """
    fig = figure(
        gettext("Cost and speed of plans"),
        subtitle=gettext("lower left is better · ◌ estimated from means, without queues · diamonds: Pareto-optimal"),
        x_title=gettext("cost of all replicas, USD/h"),
        y_title=gettext("TPOT, ms"),
        **LEGEND_BELOW,
    )

    def points(shown: Sequence[Plan], name: str, colour: str, **style: Any) -> None:
        x, y, text = [p.usd_per_hour for p in shown], [p.tpot_s * 1e3 for p in shown], [plan_label(p) for p in shown]
        hover = "%{text}: %{x:.2f} USD/h, %{y:.3g} ms<extra></extra>"
        add_line(fig, x, y, colour, name=name, hover=hover, text=text, **style)

    for name, (colour, symbol) in styles_of(list(dict.fromkeys(p.device_name for p in plans))).items():
        marker = {"color": colour, "symbol": symbol, "size": 8, "opacity": 0.75}
        points([p for p in plans if p.device_name == name], name, colour, mode="markers", marker=marker)
    line, diamond = {"width": 2, "dash": "dash"}, {"symbol": "diamond", "size": 11}
    points(frontier, gettext("Pareto-optimal"), BEST, mode="lines+markers", line=line, marker=diamond)
    fig.add_hline(y=slo_tpot_s * 1e3, line={"color": CAUTION, "width": 1.5, "dash": "dot"})
    fig.update_xaxes(type="log", tickangle=0, tickvals=LOG_TICKS)
    shown = [p.tpot_s for p in (*plans, *frontier)]
    # From 0 on, unless all points would lie close together at the top.
    fig.update_yaxes(rangemode="tozero" if min(shown, default=0.0) < 0.7 * max(shown, default=1.0) else "normal")
    return fig


def predicted_and_measured(cells: Sequence[PredictedCell], *, level: float) -> go.Figure:
    """Return predictions with their intervals, which cover nominally ``level``, and measurements of the same cells.

    The cells are all of one context.
    """
    fig = figure(
        gettext("Predicted and measured"),
        subtitle=gettext("● measured · ◌ line and band: estimated, {level} %").format(level=f"{100 * level:.0f}"),
        x_title=gettext("decode batch size, sequences"),
        y_title=gettext("TPOT, ms"),
        **LEGEND_BELOW,
    )
    for name, (colour, symbol) in styles_of(list(dict.fromkeys(c.label for c in cells))).items():
        mine = sorted((c for c in cells if c.label == name), key=lambda c: c.batch)
        x, measured = [c.batch for c in mine], [c.measured_s * 1e3 for c in mine]
        estimated, low, high = ([getattr(c.predicted_s, end) * 1e3 for c in mine] for end in ("value", "low", "high"))
        band: dict[str, Any] = {"fill": "toself", "opacity": 0.15, "hoverinfo": "skip", "line": {"width": 0}}
        add_line(fig, x + x[::-1], high + low[::-1], colour, name=name, hover="", showlegend=False, **band)
        hover = gettext("{name}, batch %{{x}}: estimated %{{y:.3g}} ms<extra></extra>").format(name=name)
        line = {"width": 1.5, "dash": "dash"}
        add_line(
            fig,
            x,
            estimated,
            colour,
            name=gettext("{name}, estimated").format(name=name),
            hover=hover,
            showlegend=False,
            line=line,
        )
        hover = gettext("{name}, batch %{{x}}: measured %{{y:.3g}} ms<extra></extra>").format(name=name)
        marker = {"color": colour, "symbol": symbol, "size": 8}
        add_line(fig, x, measured, colour, name=name, hover=hover, mode="markers", marker=marker)
    fig.update_xaxes(type="log", tickvals=sorted({c.batch for c in cells}), tickangle=0)
    return fig


def price_by_assumption(assumptions: Sequence[Sensitivity], *, usd_per_hour: float) -> go.Figure:
    """Return bars from the price with a lower value of an assumption to that with a higher one; the widest is on top.

    ``usd_per_hour`` is the price of the plan as it stands.
    """
    fig = figure(
        gettext("Sensitivity of the price"),
        subtitle=gettext("◌ estimated: one assumption changed, then the cheapest plan again"),
        x_title=gettext("cheapest plan, USD/h"),
        y_title="",
        **LEGEND_BELOW,
    )
    names = [f"{a.assumption}<br>{a.low} … {a.high}" for a in assumptions]
    lower = (
        gettext("lower value"),
        gettext("no plan with the lower value"),
        gettext("no plan meets the SLO with the lower value<extra></extra>"),
    )
    higher = (
        gettext("higher value"),
        gettext("no plan with the higher value"),
        gettext("no plan meets the SLO with the higher value<extra></extra>"),
    )
    for (name, no_plan, hover), colour, changed, values in (
        (lower, MEASURED, [a.low for a in assumptions], [a.usd_low for a in assumptions]),
        (higher, CAUTION, [a.high for a in assumptions], [a.usd_high for a in assumptions]),
    ):
        prices = [gettext("no plan") if v is None else f"{v:.2f} USD/h" for v in values]
        add_bars(
            fig,
            names,
            [0 if v is None else v - usd_per_hour for v in values],
            colour,
            name=name,
            hover="%{y}<br>%{customdata[0]}: %{customdata[1]}<extra></extra>",
            base=usd_per_hour,
            width=0.6,
            customdata=list(zip(changed, prices, strict=True)),
        )
        missing = [n for n, v in zip(names, values, strict=True) if v is None]
        add_trace(
            fig,
            "scatter",
            x=[usd_per_hour] * len(missing),
            y=missing,
            mode="markers",
            name=no_plan,
            marker={"symbol": "x", "size": 12, "color": FAILURE},
            hovertemplate=hover,
            showlegend=bool(missing),
        )
    fig.add_vline(x=usd_per_hour, line={"color": BEST, "width": 2})
    fig.update_yaxes(autorange="reversed", tickfont={"size": 11})
    fig.update_layout(barmode="overlay")
    return fig


def queue_over_time(parts: OverTime, *, cache_tokens: int) -> go.Figure:
    """Return the sequences that wait and run, and how full the cache is, of one replica.

    Args:
        parts: Queue and cache of the replica over time.
        cache_tokens: Room of the cache.
    """
    title, at_s, steps = gettext("Queue and cache of the busiest replica"), parts.at_s, {"width": 1.5, "shape": "hv"}
    fig = figure(
        title, subtitle=gettext("△ simulated"), x_title=gettext("time, s"), y_title=gettext("requests"), **LEGEND_BELOW
    )
    for name, requests, colour in (
        (gettext("running"), parts.running, MEASURED),
        (gettext("waiting"), parts.waiting, FAILURE),
    ):
        hover = f"%{{x:.1f}} s: %{{y}} {name}<extra></extra>"
        add_line(fig, at_s, requests, colour, name=name, hover=hover, line=steps)
    full, hover = (
        [100 * c / cache_tokens for c in parts.cached_tokens],
        gettext("%{x:.1f} s: cache %{y:.0f} % full<extra></extra>"),
    )
    add_line(fig, at_s, full, BEST, name=gettext("cache"), hover=hover, line=steps, yaxis="y2")
    second = fig.layout.yaxis.to_plotly_json() | {"domain": [0.0, 0.3], "anchor": "x", "rangemode": "tozero"}
    second["title"] = {"text": gettext("cache, %"), "font": {"size": 12}}
    fig.update_layout(yaxis={"domain": [0.38, 1.0], "rangemode": "tozero"}, yaxis2=second, xaxis={"anchor": "y2"})
    return fig


def caches_by_size(sizes: CacheSizes) -> go.Figure:
    """Return hit share, TTFT and saved devices by the room of a replica's prefix cache, a line for each kind of routing."""
    fig = figure(
        gettext("Prefix cache by its size and routing"),
        subtitle=gettext("△ simulated · {about} · dashed: room of the plan's replicas").format(about=sizes.about),
        x_title=gettext("KV cache of a replica, tokens"),
        y_title=gettext("hit share, %"),
        **LEGEND_BELOW | {"height": 640},
    )
    hovers = {
        "y": gettext("%{x:,} tokens: %{y:.0f} % hits"),
        "y2": gettext("%{x:,} tokens: TTFT p50 %{y:.3g} s"),
        "y3": gettext("%{x:,} tokens: work of %{y:.2g} devices saved"),
    }
    for routing, (colour, symbol) in styles_of(list(dict.fromkeys(p.routing for p in sizes.points))).items():
        name, mine = ROUTINGS[routing], [p for p in sizes.points if p.routing == routing]
        values = {
            "y": [100 * p.hit_fraction for p in mine],
            "y2": [p.ttft_p50_s for p in mine],
            "y3": [p.saved_devices for p in mine],
        }
        for axis, hover in hovers.items():
            style: dict[str, Any] = {"mode": "lines+markers", "marker": {"symbol": symbol, "size": 7}, "yaxis": axis}
            style |= {"showlegend": axis == "y", "legendgroup": name}
            x = [p.cache_tokens for p in mine]
            add_line(fig, x, values[axis], colour, name=name, hover=f"{name}, {hover}<extra></extra>", **style)
    plain = fig.layout.yaxis.to_plotly_json() | {"anchor": "x", "rangemode": "tozero"}
    titles = (gettext("hit share, %"), gettext("TTFT p50, s"), gettext("GPUs saved"))
    domains = ((0.72, 1.0), (0.36, 0.64), (0.0, 0.28))
    axes = [
        plain | {"domain": d, "title": {"text": t, "font": {"size": 12}}} for t, d in zip(titles, domains, strict=True)
    ]
    fig.update_layout(yaxis=axes[0], yaxis2=axes[1], yaxis3=axes[2])
    fig.update_xaxes(type="log", anchor="y3")
    fig.add_vline(x=sizes.room_tokens, line={"color": CAUTION, "width": 1.5, "dash": "dash"})
    return fig
