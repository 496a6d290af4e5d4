"""The figure of rollbacks by rule."""

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, add_bars, figure
from workbench.questions.rollout.odds.findings import RuleReport


def rollbacks_by_rule(report: RuleReport) -> go.Figure:
    """Return the share of rollouts that each rule rolls back, for a healthy new version and for the chosen one."""
    title = gettext("Rollouts that are rolled back")
    fig = figure(
        title,
        subtitle=gettext("△ simulated"),
        x_title=gettext("rolled back (% of rollouts)"),
        y_title="",
        has_legend=True,
    )
    versions = (
        (gettext("healthy: failure rate of the old version"), CAUTION, [odds.healthy for odds in report.values()]),
        (gettext("failure rate you chose"), BEST, [odds.chosen for odds in report.values()]),
    )
    for name, colour, odds_of_version in versions:
        shares = [100 * odds.rolled_back for odds in odds_of_version]
        add_bars(
            fig,
            map(gettext, report),
            shares,
            colour,
            name=name,
            hover="%{y}: %{x:.1f} %<extra>%{fullData.name}</extra>",
        )
    fig.update_layout(barmode="group")
    fig.update_xaxes(range=[0, 103])
    fig.update_yaxes(autorange="reversed")
    return fig
