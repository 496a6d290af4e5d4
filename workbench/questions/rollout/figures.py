"""Figures of rollouts: the share of the users on each version, and the evidence against it over time."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, add_line, figure
from workbench.questions.rollout.findings import shown_scenario
from workbench.questions.rollout.rows import NEW, Look

COLOURS = (BEST, FAILURE, CAUTION, PUBLISHED, MEASURED)


def course_of_rollouts(courses: Mapping[str, Sequence[Look]], *, first_share: float) -> go.Figure:
    """Return the share of the users on the new version over time, by scenario, beginning with the first step."""
    fig = figure(
        gettext("Users on the new version"),
        subtitle=gettext("● measured, by scenario"),
        x_title=gettext("time (s)"),
        y_title=gettext("users on the new version (%)"),
        has_legend=True,
    )
    for (scenario, course), colour in zip(courses.items(), COLOURS, strict=False):
        at_s = [0.0, *(look.at_s for look in course)]
        share = [100 * first_share, *(100 * look.state.shares[NEW] for look in course)]
        hover = gettext("%{y:.0f} % after %{x:.0f} s<extra>%{fullData.name}</extra>")
        add_line(
            fig,
            at_s,
            share,
            colour,
            name=shown_scenario(scenario),
            hover=hover,
            line={"shape": "hv"},
            mode="lines+markers",
        )
    fig.update_yaxes(range=[-4, 104])
    return fig


def evidence_of_rollouts(courses: Mapping[str, Sequence[Look]], *, limit: float) -> go.Figure:
    """Return the strongest evidence against the new version over time, by scenario, with the rollback limit."""
    fig = figure(
        gettext("Evidence against the new version"),
        subtitle=gettext("● measured, largest e-value of four measures"),
        x_title=gettext("time (s)"),
        y_title=gettext("evidence (e-value)"),
    )
    for (scenario, course), colour in zip(courses.items(), COLOURS, strict=False):
        at_s = [look.at_s for look in course]
        evidence = [max(1e-3, min(1e9, look.state.evidence.largest)) for look in course]
        hover = gettext("%{y:.3g} after %{x:.0f} s<extra>%{fullData.name}</extra>")
        add_line(fig, at_s, evidence, colour, name=shown_scenario(scenario), hover=hover, mode="lines+markers")
    fig.add_hline(y=limit, line={"color": INK, "dash": "dot"}, annotation_text=gettext("rollback limit"))
    fig.update_yaxes(type="log")
    return fig
