"""Days of samples in lanes: the mean as a line, and least to greatest as a band, so that thinning hides no peak."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, MEASURED, PUBLISHED, figure
from workbench.store.history import Span

COLOURS = (MEASURED, CAUTION, BEST, FAILURE, PUBLISHED)
LANE_PX = 120


def days_in_lanes(lanes: Sequence[tuple[str, Mapping[str, Span]]], *, title: str) -> go.Figure:
    """Signals over the time of day, a lane for each unit.

    Args:
        lanes: Unit, and spans by label, times in seconds since 1970 (UTC).
        title: Of the figure.
    """
    fig = figure(title, subtitle="● measured · line: mean · band: least to greatest · UTC", x_title="", y_title="")
    gap = 0.05
    height = (1 - gap * (len(lanes) - 1)) / max(1, len(lanes))
    axis = fig.layout.yaxis.to_plotly_json()
    layout: dict[str, Any] = {"xaxis": {"anchor": "y" if len(lanes) == 1 else f"y{len(lanes)}", "type": "date"}}
    notes = []
    for i, (unit, spans) in enumerate(lanes):
        key = "y" if i == 0 else f"y{i + 1}"
        top = 1 - i * (height + gap)
        layout["yaxis" if i == 0 else f"yaxis{i + 1}"] = axis | {
            "domain": [max(0.0, top - height), top],
            "title": {"text": unit, "font": {"size": 11}},
            "rangemode": "tozero",
            "anchor": "x",
            "tickfont": {"size": 10},
        }
        for k, (label, span) in enumerate(spans.items()):
            colour = COLOURS[k % len(COLOURS)]
            at = [datetime.fromtimestamp(float(t), tz=UTC).replace(tzinfo=None) for t in span.at_s]
            fig.add_scatter(
                x=[*at, *at[::-1]],
                y=[*span.high, *span.low[::-1]],
                yaxis=key,
                mode="lines",
                fill="toself",
                line={"width": 0, "color": colour},
                opacity=0.2,
                hoverinfo="skip",
            )
            fig.add_scatter(
                x=at,
                y=list(span.mean),
                yaxis=key,
                mode="lines",
                name=label,
                line={"color": colour, "width": 1.4},
                hovertemplate=f"%{{x}}: {label} %{{y:.4g}}<extra></extra>",
            )
            notes.append(
                {
                    "xref": "paper",
                    "yref": "paper",
                    "x": 1.01,
                    "y": top - k * min(0.06, height / max(1, len(spans))),
                    "xanchor": "left",
                    "yanchor": "top",
                    "text": label,
                    "showarrow": False,
                    "font": {"size": 10, "color": colour},
                }
            )
    fig.update_layout(**layout, annotations=notes, height=max(260, 110 + LANE_PX * len(lanes)), margin={"r": 150})
    return fig
