"""Figures of a tuning run: what settings reach in TTFT and TPOT, and what each flag contributes."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, INK, LOG_TICKS, MEASURED, add_trace, figure
from workbench.questions.tuning.findings import SCORES, Judged, Tuned, shown_score
from workbench.questions.tuning.findings.flags import Contribution
from workbench.questions.tuning.rows import MeasuredSoFar
from workbench.questions.tuning.spec import Objective

SIMULATED = "#56B4E9"


def front(tuned: Tuned) -> go.Figure:
    """Return TTFT and TPOT of every setting with the SLO: simulated ones shaded, measured ones as points, the chosen one as a star."""
    name, unit = SCORES[tuned.aim.objective]
    fig = figure(
        gettext("Settings by TTFT and TPOT"),
        subtitle=gettext("● measured (darker: better) · dotted: SLO"),
        x_title=gettext("TTFT p90, ms (lower is better)"),
        y_title=gettext("TPOT p90, ms (lower is better)"),
        has_legend=True,
    )
    known = [j for j in tuned.settings if j.result.ttft_p90_s is not None and j.result.tpot_p90_s is not None]
    simulated = [j for j in known if not j.is_measured]
    measured = [j for j in known if j.is_measured]

    def points(settings: Sequence[Judged], **look: object) -> None:
        add_trace(
            fig,
            "scatter",
            x=[1e3 * (j.result.ttft_p90_s or 0.0) for j in settings],
            y=[1e3 * (j.result.tpot_p90_s or 0.0) for j in settings],
            text=[f"{j.result.name}<br>{name} {shown_score(j.score, tuned.aim.objective)} {unit}" for j in settings],
            hovertemplate="%{text}<br>TTFT %{x:.3g} ms, TPOT %{y:.3g} ms<extra></extra>",
            **look,
        )

    if simulated:
        marker = {"symbol": "triangle-up", "size": 7, "color": SIMULATED, "opacity": 0.45}
        points(simulated, mode="markers", name=gettext("simulated"), marker=marker)
    top = max((j.score for j in measured), default=1.0) or 1.0
    opacity = [0.3 + 0.7 * j.score / top for j in measured]
    points(
        measured, mode="markers", name=gettext("measured"), marker={"size": 10, "color": MEASURED, "opacity": opacity}
    )
    points(pareto(measured), mode="lines", name=gettext("Pareto front"), line={"color": INK, "width": 1})
    points(
        [tuned.default],
        mode="markers",
        name=gettext("default"),
        marker={"symbol": "square-open", "size": 14, "color": CAUTION},
    )
    star = {"symbol": "star", "size": 16, "color": BEST}
    points([tuned.chosen], mode="markers", name=gettext("chosen setting"), marker=star)
    fig.add_vline(x=1e3 * tuned.aim.slo_ttft_s, line={"dash": "dot", "color": BEST})
    fig.add_hline(y=1e3 * tuned.aim.slo_tpot_s, line={"dash": "dot", "color": BEST})
    fig.update_xaxes(type="log", tickvals=LOG_TICKS, tickangle=0)
    fig.update_layout(margin={"b": 90})
    return fig


def measured_so_far(found: MeasuredSoFar, *, objective: Objective) -> go.Figure:
    """Return the scores of the settings that a running search has measured."""
    name, unit = SCORES[objective]
    fig = figure(
        gettext("Measured so far"),
        subtitle=gettext("● the best one is green"),
        x_title=gettext("{name}, {unit}").format(name=name, unit=unit),
        y_title="",
    )
    best = max(found.scores, default=0.0)
    shown = [
        0.0 if s <= 0 else s if objective == "goodput" else 1e6 / s if objective == "cost" else 1 / s
        for s in found.scores
    ]
    colours = [BEST if s == best else MEASURED for s in found.scores]
    fig.add_bar(
        y=list(found.names),
        x=shown,
        orientation="h",
        marker={"color": colours},
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )
    fig.update_yaxes(autorange="reversed")
    return fig


def pareto(settings: Sequence[Judged]) -> list[Judged]:
    """Return the settings that no other one beats in both TTFT and TPOT, by rising TTFT."""
    ordered = sorted(settings, key=lambda j: (j.result.ttft_p90_s or 0.0, j.result.tpot_p90_s or 0.0))
    kept: list[Judged] = []
    for j in ordered:
        if not kept or (j.result.tpot_p90_s or 0.0) < (kept[-1].result.tpot_p90_s or 0.0):
            kept.append(j)
    return kept


def flag_contributions(found: Sequence[Contribution], *, objective_name: str) -> go.Figure:
    """Return how the score changes from the best setting when one flag is changed at a time."""
    fig = figure(
        gettext("What each flag contributes"),
        subtitle=gettext("● measured · △ simulated · one flag changed"),
        x_title=gettext("{score}, % of the best setting").format(score=objective_name),
        y_title="",
        height=max(300, 110 + 24 * len(found)),
    )
    labels = [f"{c.flag} {c.value}" for c in found]
    add_trace(
        fig,
        "scatter",
        x=[100 * (1 + c.change_fraction) for c in found],
        y=labels,
        mode="markers",
        marker={
            "size": [14 if c.is_chosen else 10 for c in found],
            "symbol": ["star" if c.is_chosen else "circle" if c.is_measured else "triangle-up" for c in found],
            "color": [BEST if c.is_chosen else MEASURED if c.is_measured else SIMULATED for c in found],
        },
        hovertemplate="%{y}: %{x:.3g} %<extra></extra>",
    )
    for c, label in zip(found, labels, strict=True):
        fig.add_shape(
            type="line", x0=100, x1=100 * (1 + c.change_fraction), y0=label, y1=label, line={"color": INK, "width": 1}
        )
    fig.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=labels, dtick=1)
    return fig
