"""The figure of how well each method finds the causes of injected faults."""

from collections.abc import Sequence
from operator import attrgetter

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, FAILURE, INK, MEASURED, figure, interval_bars
from workbench.questions.latency.faults.rows import Score


def accuracy_by_method(scores: Sequence[Score]) -> go.Figure:
    """Draw top-1, top-3 and false alarms of each method, with 95 % intervals."""
    fig = figure(
        gettext("Accuracy of each method"),
        subtitle=gettext("● measured on injected faults · bars: 95 % intervals"),
        x_title="",
        y_title=gettext("share of loads, %"),
        has_legend=True,
    )
    for name, colour, shares in (
        (gettext("cause named"), BEST, {s.method: s.top1 for s in scores}),
        (gettext("cause among the first three"), MEASURED, {s.method: s.top3 for s in scores}),
        (gettext("false alarm on a healthy load"), FAILURE, {s.method: s.false_alarms for s in scores}),
    ):
        shown = {method: share for method, share in shares.items() if share is not None}
        heights = [100 * share.value for share in shown.values()]
        lows, highs = (
            [100 * end(share) for share in shown.values()] for end in (attrgetter("low"), attrgetter("high"))
        )
        fig.add_bar(
            x=[gettext(method).replace(" ", "<br>", 1) for method in shown],
            y=heights,
            name=name,
            marker={"color": colour},
            error_y=interval_bars(heights, lows, highs, colour=INK),
            hovertemplate="%{x}: %{y:.0f} %<extra>" + name + "</extra>",
        )
    fig.update_yaxes(range=[0, 105])
    fig.update_xaxes(tickangle=0, tickfont={"size": 11})
    fig.update_layout(barmode="group")
    return fig
