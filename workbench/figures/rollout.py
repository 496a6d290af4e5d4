"""Figures of rollouts: how evidence grew, and how often judges err."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.core.rollout import SCENARIOS
from workbench.figures.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, figure

COLOURS = (BEST, FAILURE, CAUTION, PUBLISHED, MEASURED)


def course_of_rollouts(courses: Mapping[str, Sequence[Mapping[str, Any]]], *, new: str) -> go.Figure:
    """The new version's share of the users over time, by scenario."""
    fig = figure(
        "How far each version got",
        subtitle="● measured; steps of users",
        x_title="seconds",
        y_title="users on the new version, %",
    )
    for (scenario, course), colour in zip(courses.items(), COLOURS, strict=False):
        fig.add_scatter(
            x=[0.0, *(c["at_s"] for c in course)],
            y=[10.0, *(100 * c["shares"][new] for c in course)],
            mode="lines+markers",
            line={"color": colour, "shape": "hv"},
            name=SCENARIOS[scenario],
            hovertemplate="%{y:.0f} % after %{x:.0f} s<extra>" + SCENARIOS[scenario] + "</extra>",
        )
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.25, "font": {"size": 11}})
    fig.update_yaxes(range=[-4, 104])
    return fig


def evidence_of_rollouts(courses: Mapping[str, Sequence[Mapping[str, Any]]], *, limit: float) -> go.Figure:
    """The strongest evidence against the new version over time, by scenario, and where it rolls back."""
    fig = figure(
        "Evidence against the new version",
        subtitle="● measured; the largest of four measures",
        x_title="seconds",
        y_title="evidence (e-value)",
    )
    for (scenario, course), colour in zip(courses.items(), COLOURS, strict=False):
        fig.add_scatter(
            x=[c["at_s"] for c in course],
            y=[max(1e-3, min(1e9, max(c["evidence"].values()))) for c in course],
            mode="lines+markers",
            line={"color": colour},
            name=SCENARIOS[scenario],
            hovertemplate="%{y:.3g} after %{x:.0f} s<extra>" + SCENARIOS[scenario] + "</extra>",
        )
    fig.add_hline(y=limit, line={"color": INK, "dash": "dot"}, annotation_text="rolled back from here")
    fig.update_yaxes(type="log")
    return fig


def odds_by_judge(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Shares of rollouts that go back, by judge: for a new version as bad as the old one, and for the chosen one.

    Args:
        rows: With ``judge``, ``as_bad`` and ``worse`` (shares).
    """
    fig = figure("How often it is rolled back", subtitle="△ simulated", x_title="of the rollouts, %", y_title="")
    for name, key, colour in (("as good as the old one", "as_bad", CAUTION), ("the one you chose", "worse", BEST)):
        fig.add_bar(
            y=[r["judge"] for r in rows],
            x=[100 * r[key] for r in rows],
            orientation="h",
            name=name,
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.1f} %<extra>" + name + "</extra>",
        )
    fig.update_layout(barmode="group", showlegend=True, legend={"orientation": "h", "y": -0.25})
    fig.update_xaxes(range=[0, 103])
    fig.update_yaxes(autorange="reversed")
    return fig
