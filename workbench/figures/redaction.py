"""Figures of what detectors find."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import CAUTION, FAILURE, MEASURED, PUBLISHED, figure, interval_bars

COLOURS = (MEASURED, CAUTION, PUBLISHED)


def found_by_kind(rows: Sequence[Mapping[str, Any]], what: str, *, bar: float) -> go.Figure:
    """Recall or precision by class, a mark for each detector.

    Args:
        rows: With ``detector``, ``kind``, ``what`` and its interval; a class that a detector does not know has None.
        what: "recall" or "precision".
        bar: What is asked for.
    """
    title = "How much is found" if what == "recall" else "How much of what is found is right"
    fig = figure(title, subtitle="● measured, 95 % interval", x_title=f"{what}, %", y_title="")
    for name, colour in zip(dict.fromkeys(r["detector"] for r in rows), COLOURS, strict=False):
        own = [r for r in rows if r["detector"] == name and r[what] is not None]
        values = [100 * r[what] for r in own]
        fig.add_scatter(
            y=[r["kind"] for r in own],
            x=values,
            mode="markers",
            name=name,
            marker={"color": colour, "size": 11},
            error_x=interval_bars(
                values, [100 * r[f"{what}_interval"][0] for r in own], [100 * r[f"{what}_interval"][1] for r in own]
            ),
            hovertemplate="%{y}: %{x:.1f} %<extra>" + name + "</extra>",
        )
    fig.add_vline(x=100 * bar, line={"color": FAILURE, "dash": "dot"})
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.25})
    fig.update_xaxes(range=[-3, 103])
    fig.update_yaxes(autorange="reversed")
    return fig
