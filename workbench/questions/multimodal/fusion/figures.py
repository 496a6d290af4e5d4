"""Figures of images with captions."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, MEASURED, add_line, figure, interval_bars
from workbench.measuring.interleaved import BatchTimes
from workbench.questions.multimodal.fusion.findings import shown_fusion, shown_towers
from workbench.questions.multimodal.fusion.rows import MissingImages

COLOURS = {"early": CAUTION, "mid": MEASURED, "late": BEST}
VERDICT_COLOURS = {"faster": BEST, "slower": FAILURE}


def accuracy_by_missing(rows: Sequence[MissingImages]) -> go.Figure:
    """Return accuracy by share of missing images; lines are solid with modality dropout in training."""
    fig = figure(
        gettext("Accuracy with missing images"),
        subtitle=gettext("● 95 % interval; solid: with modality dropout in training"),
        x_title=gettext("inputs without an image, %"),
        y_title=gettext("accuracy, %"),
        has_legend=True,
    )
    for kind in dict.fromkeys(r.fusion for r in rows):
        for has_dropout in (True, False):
            own = [r for r in rows if r.fusion == kind and r.has_dropout == has_dropout]
            x, y = [100 * r.missing_fraction for r in own], [100 * r.accuracy.fraction for r in own]
            low, high = ([100 * r.accuracy.interval[i] for r in own] for i in (0, 1))
            bars, line = interval_bars(y, low, high, colour=COLOURS[kind]), {"dash": "solid" if has_dropout else "dot"}
            name = (
                gettext("{fusion}, modality dropout").format(fusion=shown_fusion(kind))
                if has_dropout
                else shown_fusion(kind)
            )
            hover = gettext("%{x:.0f} % missing: %{y:.1f} %") + f"<extra>{shown_fusion(kind)}</extra>"
            add_line(fig, x, y, COLOURS[kind], name=name, hover=hover, line=line, mode="lines+markers", error_y=bars)
    return fig


def ratios(times: Mapping[str, Mapping[int, BatchTimes]], *, batch: int) -> go.Figure:
    """Return the speed-ups at a batch size with their intervals; the line is 1."""
    fig = figure(
        gettext("Speed-up of precision, two threads and routing"),
        subtitle=gettext("● measured, 95 % interval, batch size {batch}").format(batch=batch),
        x_title=gettext("speed-up"),
        y_title="",
    )
    speedups = {label: s for label, by_batch in times.items() if (s := by_batch[batch].speedup)}
    ratio = [s.ratio for s in speedups.values()]
    lows, highs = ([s.ratio_interval[i] for s in speedups.values()] for i in (0, 1))
    fig.add_scatter(
        x=ratio,
        y=list(map(shown_towers, speedups)),
        mode="markers",
        marker={"size": 11, "color": [VERDICT_COLOURS.get(s.verdict, CAUTION) for s in speedups.values()]},
        error_x=interval_bars(ratio, lows, highs),
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    fig.add_vline(x=1, line={"color": FAILURE, "dash": "dot"})
    return fig.update_yaxes(autorange="reversed")
