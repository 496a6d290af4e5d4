"""Days of samples in lanes: the mean as a line, and least to greatest as a band, so that thinning hides no peak."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import plotly.graph_objects as go

from workbench.figures.lanes import Lanes
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
    places = Lanes(fig, [unit for unit, _ in lanes])
    for i, (_, spans) in enumerate(lanes):
        for k, (label, span) in enumerate(spans.items()):
            colour = COLOURS[k % len(COLOURS)]
            at = [datetime.fromtimestamp(float(t), tz=UTC).replace(tzinfo=None) for t in span.at_s]
            fig.add_scatter(
                x=[*at, *at[::-1]],
                y=[*span.high, *span.low[::-1]],
                yaxis=places.axis(i),
                mode="lines",
                fill="toself",
                line={"width": 0, "color": colour},
                opacity=0.2,
                hoverinfo="skip",
            )
            fig.add_scatter(
                x=at,
                y=list(span.mean),
                yaxis=places.axis(i),
                mode="lines",
                name=label,
                line={"color": colour, "width": 1.4},
                hovertemplate=f"%{{x}}: {label} %{{y:.4g}}<extra></extra>",
            )
            places.name(i, k, label, colour, of=len(spans))
    layout = places.layout
    layout["xaxis"] |= {"type": "date"}
    fig.update_layout(**layout, height=max(260, 110 + LANE_PX * len(lanes)), margin={"r": 150})
    return fig
