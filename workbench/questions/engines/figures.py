"""Figures of a sweep: SLO attainment and TTFT by request rate, and requests as they end."""

import itertools
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, add_trace, figure, interval_bars
from workbench.load.messages import FinishedRequest
from workbench.questions.engines.rows import EngineResult

STYLES = (
    (MEASURED, "circle"),
    (CAUTION, "square"),
    (PUBLISHED, "diamond"),
    (BEST, "triangle-up"),
    (FAILURE, "cross"),
    (INK, "star"),
)


def attainment_by_rate(
    results: Sequence[EngineResult], *, labels: Mapping[str, str], attainment_fraction: float, best: str | None
) -> go.Figure:
    """Return the SLO attainment over the request rate, with 95 % intervals and the line to stay above."""
    fig = figure(
        gettext("SLO attainment by request rate"),
        subtitle=gettext("● measured · bars are 95 % intervals · dotted: required attainment"),
        x_title=gettext("request rate, requests/s"),
        y_title=gettext("SLO attainment, %"),
    )
    for r, (colour, symbol) in _styled(results):
        shares = [100 * t.attainment_fraction for t in r.trials]
        add_trace(
            fig,
            "scatter",
            x=[t.rate_per_s for t in r.trials],
            y=shares,
            mode="lines+markers",
            name=labels[r.engine],
            marker={"symbol": symbol, "size": 9 if r.engine != best else 12},
            line={"color": colour, "width": 3 if r.engine == best else 1.5},
            error_y=interval_bars(shares, *([100 * t.attainment_interval[i] for t in r.trials] for i in (0, 1)))
            | {"color": colour},
            hovertemplate="%{x:.3g}/s: %{y:.0f} %<extra>%{fullData.name}</extra>",
        )
    fig.add_hline(y=100 * attainment_fraction, line={"dash": "dot", "color": BEST})
    _rates(fig, results)
    fig.update_yaxes(range=[-3, 104])
    return fig


def latency_by_rate(results: Sequence[EngineResult], *, labels: Mapping[str, str], ttft_s: float) -> go.Figure:
    """Return p50 and p99 of TTFT, from when a request was due, over the request rate."""
    fig = figure(
        gettext("TTFT by request rate"),
        subtitle=gettext("● from the due time · line p50, dashes p99"),
        x_title=gettext("request rate, requests/s"),
        y_title=gettext("TTFT, ms"),
    )
    for r, (colour, symbol) in _styled(results):
        for name, dash, values in (
            ("p50", "solid", [t.ttft_p50_s for t in r.trials]),
            ("p99", "dash", [t.ttft_p99_s for t in r.trials]),
        ):
            add_trace(
                fig,
                "scatter",
                x=[t.rate_per_s for t in r.trials],
                y=[None if v is None else 1e3 * v for v in values],
                mode="lines+markers",
                name=f"{labels[r.engine]} {name}",
                showlegend=name == "p50",
                marker={"symbol": symbol, "size": 7},
                line={"color": colour, "dash": dash, "width": 1.5},
                hovertemplate="%{x:.3g}/s: %{y:.3g} ms<extra>%{fullData.name}</extra>",
            )
    fig.add_hline(y=1e3 * ttft_s, line={"dash": "dot", "color": BEST})
    _rates(fig, results)
    fig.update_yaxes(type="log", minor={"showgrid": False}, dtick=1)
    return fig


def requests_as_they_happen(points: Sequence[FinishedRequest], *, title: str, ttft_s: float) -> go.Figure:
    """Return the TTFT of each request over the time at which it was due; failures are drawn at the SLO."""
    fig = figure(
        title,
        subtitle=gettext("live · × failed"),
        x_title=gettext("due, s after the start of the trial"),
        y_title=gettext("TTFT, ms"),
    )
    answers = [(p.due_s, 1e3 * p.ttft_s) for p in points if p.error is None and p.ttft_s is not None]
    failed = [p.due_s for p in points if p.error is not None]
    add_trace(
        fig,
        "scatter",
        x=[due_s for due_s, _ in answers],
        y=[ttft_ms for _, ttft_ms in answers],
        mode="markers",
        name=gettext("answered"),
        marker={"color": MEASURED, "size": 6},
    )
    add_trace(
        fig,
        "scatter",
        x=failed,
        y=[1e3 * ttft_s] * len(failed),
        mode="markers",
        name=gettext("failed"),
        marker={"color": FAILURE, "symbol": "x", "size": 8},
    )
    fig.add_hline(y=1e3 * ttft_s, line={"dash": "dot", "color": BEST})
    fig.update_yaxes(rangemode="tozero")
    return fig


def _styled(results: Sequence[EngineResult]) -> list[tuple[EngineResult, tuple[str, str]]]:
    """Return the candidates with trials, each with a colour and a symbol of its own as far as they reach."""
    return list(zip([r for r in results if r.trials], itertools.cycle(STYLES), strict=False))


def _rates(fig: go.Figure, results: Sequence[EngineResult]) -> None:
    fig.update_layout(showlegend=True)
    rates = sorted({t.rate_per_s for r in results for t in r.trials if abs(t.rate_per_s - round(t.rate_per_s)) < 1e-9})
    fig.update_xaxes(type="log", tickvals=rates, ticktext=[f"{r:g}" for r in rates], minor={"showgrid": False})
