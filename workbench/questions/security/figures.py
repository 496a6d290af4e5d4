"""Figures of recall and precision of detectors by class."""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.core.statistics import Interval
from workbench.interface.theme import CAUTION, FAILURE, MEASURED, PUBLISHED, figure, interval_bars
from workbench.questions.security.rows import DetectorScore, by_detector
from workbench.questions.security.spec import DETECTORS

COLOURS = (MEASURED, CAUTION, PUBLISHED)


def recall_by_class(scores: Sequence[DetectorScore], *, bar: float) -> go.Figure:
    """Return recall by class with a mark for each detector, and a line at the target."""
    return _share_by_class(gettext("Recall by class"), gettext("recall, %"), scores, lambda s: s.recall, bar)


def precision_by_class(scores: Sequence[DetectorScore], *, bar: float) -> go.Figure:
    """Return precision by class with a mark for each detector, and a line at the target."""
    return _share_by_class(gettext("Precision by class"), gettext("precision, %"), scores, lambda s: s.precision, bar)


def _share_by_class(
    title: str,
    x_title: str,
    scores: Sequence[DetectorScore],
    share_of: Callable[[DetectorScore], Interval | None],
    bar: float,
) -> go.Figure:
    fig = figure(title, subtitle=gettext("● measured, 95 % interval"), x_title=x_title, y_title="")
    for (name, own), colour in zip(by_detector(scores).items(), COLOURS, strict=False):
        known = [(s.kind, share) for s in own if (share := share_of(s)) is not None]
        values = [100 * share.value for _, share in known]
        lows, highs = [100 * share.low for _, share in known], [100 * share.high for _, share in known]
        fig.add_scatter(
            y=[kind for kind, _ in known],
            x=values,
            mode="markers",
            name=gettext(DETECTORS[name]),
            marker={"color": colour, "size": 11},
            error_x=interval_bars(values, lows, highs),
            hovertemplate=f"%{{y}}: %{{x:.1f}} %<extra>{gettext(DETECTORS[name])}</extra>",
        )
    fig.add_vline(x=100 * bar, line={"color": FAILURE, "dash": "dot"})
    fig.update_layout(showlegend=True)
    fig.update_xaxes(range=[-3, 103])
    fig.update_yaxes(autorange="reversed")
    return fig
