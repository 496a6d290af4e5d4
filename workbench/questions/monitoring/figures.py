"""Figures of a watch: when each rule was pending and firing, and the value of one rule beside its threshold."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.alerts.rules import Rule
from workbench.core.language import gettext
from workbench.interface.theme import CAUTION, FAILURE, INK, MEASURED, add_line, figure
from workbench.questions.monitoring.rows import Evaluation, spans

HEIGHT_PX = 420


def alerts_over_time(names: Sequence[str], evaluations: Sequence[Evaluation]) -> go.Figure:
    """Draw a lane for each rule, from the top down: thin where the rule was pending, thick where it fired."""
    ends_s = (evaluations[0].at_s, evaluations[-1].at_s)
    fig = figure(
        gettext("Pending and firing rules"),
        subtitle=gettext("orange: pending (the condition has not lasted long enough) · red: firing"),
        x_title=gettext("time since the start, s"),
        y_title="",
        height=HEIGHT_PX,
    )
    fig.add_scatter(
        x=list(ends_s) * len(names),
        y=[n for n in names for _ in ends_s],
        mode="markers",
        marker={"size": 3, "color": INK, "opacity": 0.4},
        hoverinfo="skip",
        name=gettext("whole watch"),
    )
    for label, spent, colour, width in (
        (gettext("pending"), spans(evaluations, "pending"), CAUTION, 6),
        (gettext("firing"), spans(evaluations, "firing"), FAILURE, 14),
    ):
        lanes = [(name, span) for name in names for span in spent.get(name, ())]
        x = [at for _, span in lanes for at in (*span, None)]
        y = [cell for name, _ in lanes for cell in (name, name, None)]
        if lanes:
            hover = f"%{{y}} {label}, %{{x:.0f}} s<extra></extra>"
            add_line(fig, x, y, colour, name=label, line={"width": width}, hover=hover)
    fig.update_yaxes(categoryorder="array", categoryarray=list(reversed(names)), tickfont={"size": 11})
    return fig


def value_and_threshold(rule: Rule, *, at_s: Sequence[float], values: Sequence[float | None]) -> go.Figure:
    """Draw the value of a rule over time, with its threshold.

    Args:
        rule: The rule that is drawn.
        at_s: Times of the evaluations.
        values: Values of the rule; None where it had no data.
    """
    fig = figure(
        gettext("{rule}: value and threshold").format(rule=rule.name),
        subtitle=gettext("● measured · fires when {compare} {threshold}").format(
            compare=rule.compare, threshold=f"{rule.threshold:g}"
        ),
        x_title=gettext("time since the start, s"),
        y_title=gettext("value of the rule"),
        height=HEIGHT_PX,
    )
    style: dict[str, object] = {"marker": {"size": 4}, "connectgaps": False}
    hover, text = "%{x:.0f} s: %{y:.4g}<br>%{text}<extra></extra>", [rule.promql()[:120]] * len(at_s)
    add_line(
        fig,
        at_s,
        values,
        MEASURED,
        name=rule.name,
        hover=hover,
        line={"width": 2},
        text=text,
        mode="lines+markers",
        **style,
    )
    fig.add_hline(y=rule.threshold, line={"color": FAILURE, "width": 1.5, "dash": "dot"})
    fig.update_yaxes(rangemode="tozero")
    return fig
