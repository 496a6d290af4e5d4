"""Figures of a watch: which rules held and fired when, and the value of one beside its threshold."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.figures.theme import CAUTION, FAILURE, INK, MEASURED, figure

Spans = Mapping[str, Sequence[tuple[float, float]]]


def alerts_over_time(names: Sequence[str], *, pending: Spans, firing: Spans, ends_s: tuple[float, float]) -> go.Figure:
    """A lane for each rule: thin where its condition held, thick where it fired.

    Args:
        names: Rules from the top down.
        pending: Spans by rule.
        firing: Likewise.
        ends_s: Of the time axis.
    """
    fig = figure(
        "Which rules hold and fire",
        subtitle="orange: the condition holds, not for long enough yet · red: firing",
        x_title="seconds",
        y_title="",
    )
    fig.add_scatter(
        x=list(ends_s) * len(names),
        y=[n for n in names for _ in ends_s],
        mode="markers",
        marker={"size": 3, "color": INK, "opacity": 0.4},
        hoverinfo="skip",
        name="watched",
    )
    for label, found, colour, width in (("holds", pending, CAUTION, 6), ("fires", firing, FAILURE, 14)):
        x: list[float | None] = []
        y: list[str | None] = []
        for name in names:
            for begin, end in found.get(name, ()):
                x += [begin, end, None]
                y += [name, name, None]
        if x:
            fig.add_scatter(
                x=x,
                y=y,
                mode="lines",
                name=label,
                line={"color": colour, "width": width},
                hovertemplate=f"%{{y}} {label}, %{{x:.0f}} s<extra></extra>",
            )
    fig.update_yaxes(categoryorder="array", categoryarray=list(reversed(names)), tickfont={"size": 11})
    fig.update_layout(height=420)
    return fig


def value_and_threshold(
    name: str, *, at_s: Sequence[float], values: Sequence[float | None], threshold: float, compare: str, promql: str
) -> go.Figure:
    """The value of a rule over time, with the line that it is compared with.

    Args:
        name: Of the rule.
        at_s: Times of the looks.
        values: None where the rule had nothing to say.
        threshold: The line.
        compare: Such as ">".
        promql: For the pointer.
    """
    fig = figure(
        f"{name}: value and threshold",
        subtitle=f"● measured · told when {compare} {threshold:g}",
        x_title="seconds",
        y_title="value",
    )
    fig.add_scatter(
        x=list(at_s),
        y=list(values),
        mode="lines+markers",
        name=name,
        line={"color": MEASURED, "width": 2},
        marker={"size": 4},
        connectgaps=False,
        text=[promql[:120]] * len(at_s),
        hovertemplate="%{x:.0f} s: %{y:.4g}<br>%{text}<extra></extra>",
    )
    fig.add_hline(y=threshold, line={"color": FAILURE, "width": 1.5, "dash": "dot"})
    fig.update_yaxes(rangemode="tozero")
    fig.update_layout(height=420)
    return fig
