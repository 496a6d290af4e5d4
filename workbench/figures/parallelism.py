"""Figures of plans for a load, and of predictions over measurements."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.serving_speed import styles_of
from workbench.figures.theme import BEST, CAUTION, FAILURE, MEASURED, figure

Row = Mapping[str, Any]


def cost_and_speed(plans: Sequence[Row], *, frontier: Sequence[Row], tpot_promise_s: float) -> go.Figure:
    """Every feasible plan by cost and time per token; the ones that no other beats are joined.

    Args:
        plans: With ``label``, ``device_name``, ``usd_per_hour`` and ``tpot_s``.
        frontier: Those that no other beats in both, cheapest first.
        tpot_promise_s: Where the line stands.
    """
    fig = figure(
        "Cost and speed of plans",
        subtitle="lower left is better · ◌ estimated · diamonds: beaten by none",
        x_title="cost of all replicas, USD/h",
        y_title="time per token, ms",
    )
    for name, (colour, symbol) in styles_of(list(dict.fromkeys(p["device_name"] for p in plans))).items():
        mine = [p for p in plans if p["device_name"] == name]
        fig.add_scatter(
            x=[p["usd_per_hour"] for p in mine],
            y=[p["tpot_s"] * 1e3 for p in mine],
            mode="markers",
            name=name,
            text=[p["label"] for p in mine],
            marker={"color": colour, "symbol": symbol, "size": 8, "opacity": 0.75},
            hovertemplate="%{text}: %{x:.2f} USD/h, %{y:.3g} ms<extra></extra>",
        )
    fig.add_scatter(
        x=[p["usd_per_hour"] for p in frontier],
        y=[p["tpot_s"] * 1e3 for p in frontier],
        mode="lines+markers",
        name="beaten by none",
        text=[p["label"] for p in frontier],
        line={"color": BEST, "width": 2, "dash": "dash"},
        marker={"color": BEST, "symbol": "diamond", "size": 11},
        hovertemplate="%{text}: %{x:.2f} USD/h, %{y:.3g} ms<extra></extra>",
    )
    fig.add_hline(y=tpot_promise_s * 1e3, line={"color": CAUTION, "width": 1.5, "dash": "dot"})
    fig.update_xaxes(type="log", tickangle=0, tickvals=[m * 10.0**e for e in range(-1, 5) for m in (1, 2, 5)])
    fig.update_yaxes(rangemode="tozero")
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.18, "font": {"size": 11}}, height=460)
    return fig


def predicted_and_measured(rows: Sequence[Row], *, level: float) -> go.Figure:
    """Predictions with their intervals beside measurements of the same cells.

    Args:
        rows: With ``label``, ``batch``, ``measured_s``, ``predicted_s``, ``low_s``, ``high_s`` of one context.
        level: Nominal coverage of the intervals.
    """
    fig = figure(
        "Predicted and measured",
        subtitle=f"● measured · ◌ line and band: estimated, {100 * level:.0f} %",
        x_title="sequences decoded together",
        y_title="time per token, ms",
    )
    for name, (colour, symbol) in styles_of(list(dict.fromkeys(r["label"] for r in rows))).items():
        mine = sorted((r for r in rows if r["label"] == name), key=lambda r: r["batch"])
        x = [r["batch"] for r in mine]
        fig.add_scatter(
            x=[*x, *x[::-1]],
            y=[r["high_s"] * 1e3 for r in mine] + [r["low_s"] * 1e3 for r in mine[::-1]],
            mode="lines",
            fill="toself",
            line={"width": 0, "color": colour},
            opacity=0.15,
            hoverinfo="skip",
            showlegend=False,
            name=name,
        )
        fig.add_scatter(
            x=x,
            y=[r["predicted_s"] * 1e3 for r in mine],
            mode="lines",
            line={"color": colour, "width": 1.5, "dash": "dash"},
            showlegend=False,
            name=f"{name}, estimated",
            hovertemplate=f"{name}, batch %{{x}}: estimated %{{y:.3g}} ms<extra></extra>",
        )
        fig.add_scatter(
            x=x,
            y=[r["measured_s"] * 1e3 for r in mine],
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 8},
            name=name,
            hovertemplate=f"{name}, batch %{{x}}: measured %{{y:.3g}} ms<extra></extra>",
        )
    batches = sorted({r["batch"] for r in rows})
    fig.update_xaxes(type="log", tickvals=batches, tickangle=0)
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.18, "font": {"size": 11}}, height=460)
    return fig


def price_hangs_on(rows: Sequence[Row], *, usd_per_hour: float) -> go.Figure:
    """Bars from the price with a lower value of an assumption to that with a higher one; the widest is on top.

    Args:
        rows: With ``assumption``, ``low`` and ``high`` (words), ``usd_low`` and ``usd_high`` (None: no plan keeps the promises).
        usd_per_hour: Of the plan as it stands.
    """
    fig = figure(
        "What the price hangs on",
        subtitle="◌ estimated: one assumption changed, the cheapest plan found anew",
        x_title="cheapest plan, USD/h",
        y_title="",
    )
    names = [f"{r['assumption']}<br>{r['low']} … {r['high']}" for r in rows]
    for end, colour in (("low", MEASURED), ("high", CAUTION)):
        values = [r[f"usd_{end}"] for r in rows]
        fig.add_bar(
            y=names,
            x=[0 if v is None else v - usd_per_hour for v in values],
            base=usd_per_hour,
            orientation="h",
            name=f"{end}er value",
            marker={"color": colour},
            width=0.6,
            customdata=[
                [r[end], "no plan" if v is None else f"{v:.2f} USD/h"] for r, v in zip(rows, values, strict=True)
            ],
            hovertemplate="%{y}<br>%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
        missing = [n for n, v in zip(names, values, strict=True) if v is None]
        fig.add_scatter(
            x=[usd_per_hour] * len(missing),
            y=missing,
            mode="markers",
            name=f"no plan with the {end}er value",
            marker={"symbol": "x", "size": 12, "color": FAILURE},
            hovertemplate=f"no plan keeps the promises with the {end}er value<extra></extra>",
            showlegend=bool(missing),
        )
    fig.add_vline(x=usd_per_hour, line={"color": BEST, "width": 2})
    fig.update_yaxes(autorange="reversed", tickfont={"size": 11})
    legend = {"orientation": "h", "y": -0.18, "font": {"size": 11}}
    fig.update_layout(barmode="overlay", showlegend=True, legend=legend, height=460)
    return fig


def queue_over_time(told: Mapping[str, Sequence[float]], *, cache_tokens: int) -> go.Figure:
    """Sequences that wait and run, and how full the cache is, of one replica.

    Args:
        told: ``at_s``, ``waiting``, ``running`` and ``cached_tokens``, the most in each part of the time.
        cache_tokens: Room of the cache.
    """
    fig = figure(
        "Queue and cache of the busiest replica",
        subtitle="△ simulated",
        x_title="seconds",
        y_title="requests",
    )
    for name, colour in (("running", MEASURED), ("waiting", FAILURE)):
        fig.add_scatter(
            x=told["at_s"],
            y=told[name],
            mode="lines",
            name=name,
            line={"color": colour, "width": 1.5, "shape": "hv"},
            hovertemplate=f"%{{x:.1f}} s: %{{y}} {name}<extra></extra>",
        )
    fig.add_scatter(
        x=told["at_s"],
        y=[100 * c / cache_tokens for c in told["cached_tokens"]],
        mode="lines",
        name="cache",
        yaxis="y2",
        line={"color": BEST, "width": 1.5, "shape": "hv"},
        hovertemplate="%{x:.1f} s: cache %{y:.0f} % full<extra></extra>",
    )
    second = fig.layout.yaxis.to_plotly_json() | {"domain": [0.0, 0.3], "anchor": "x", "rangemode": "tozero"}
    second["title"] = {"text": "cache, %", "font": {"size": 12}}
    fig.update_layout(
        yaxis={"domain": [0.38, 1.0], "rangemode": "tozero"},
        yaxis2=second,
        xaxis={"anchor": "y2"},
        showlegend=True,
        legend={"orientation": "h", "y": -0.18, "font": {"size": 11}},
        height=460,
    )
    return fig
