"""Days of samples in lanes: the mean as a line, and least to greatest as a band, so that thinning hides no peak."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, MEASURED, PUBLISHED, figure
from workbench.questions.utilization.figures.lanes import Lanes
from workbench.telemetry.history import Span

COLOURS = (MEASURED, CAUTION, BEST, FAILURE, PUBLISHED)
LANE_PX = 120


def days_in_lanes(lanes: Sequence[tuple[str, Mapping[str, Span]]], *, title: str) -> go.Figure:
    """Return signals over the time of day, a lane for each unit with its spans by label, whose times count from 1970 (UTC)."""
    fig = figure(
        title, subtitle=gettext("● measured · line: mean · band: least to greatest · UTC"), x_title="", y_title=""
    )
    places = Lanes(fig, [unit for unit, _ in lanes])
    for i, (_, spans) in enumerate(lanes):
        for k, (label, span) in enumerate(spans.items()):
            colour = COLOURS[k % len(COLOURS)]
            at = [datetime.fromtimestamp(float(t), tz=UTC).replace(tzinfo=None) for t in span.at_s]
            places.add_band(i, colour, x=at, low=list(span.low), high=list(span.high))
            places.add_line(i, k, label, colour, of=len(spans), x=at, y=list(span.mean))
    fig.update_layout(**places.layout, height=max(260, 110 + LANE_PX * len(lanes)), margin={"r": 150})
    return fig.update_xaxes(type="date")
