"""Figures of what compressions of a small model cost and save."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, LOG_TICKS, MEASURED, add_trace, figure, interval_bars
from workbench.measuring.interleaved import SpeedVerdict
from workbench.questions.edge.rows import VariantResult

COLOURS: dict[SpeedVerdict, str] = {"faster": BEST, "slower": FAILURE, "no difference shown": CAUTION}


def speed(variants: Sequence[VariantResult], *, batch: int) -> go.Figure:
    """Return the speed-ups over float32 with their intervals; colours show the verdicts.

    Args:
        variants: Rows of the techniques; the float network has no speed-up.
        batch: Batch size, one of those that were timed.
    """
    fig = figure(
        gettext("Speed-up over float32"),
        subtitle=gettext("● batch size {batch}, 95 % interval; green: faster, red: slower").format(batch=batch),
        x_title=gettext("speed-up over float32"),
        y_title="",
    )
    speedups = {v.technique: s for v in variants if (s := v.times[batch].speedup)}
    ratios = {name: (s.ratio, *s.ratio_interval) for name, s in speedups.items()}
    _add_points(
        fig,
        ratios,
        [COLOURS[s.verdict] for s in speedups.values()],
        gettext("%{y}: %{x:.2f} times the speed of float32"),
    )
    fig.add_vline(x=1, line={"color": FAILURE, "dash": "dot"})
    fig.update_xaxes(type="log", tickvals=LOG_TICKS)
    return fig


def accuracies(variants: Sequence[VariantResult]) -> go.Figure:
    """Return the known accuracies with their intervals; red where a paired test shows one below that of float32."""
    fig = figure(
        gettext("Accuracy"),
        subtitle=gettext("● held-out, 95 % interval; red: worse by a paired test"),
        x_title=gettext("accuracy, %"),
        y_title="",
    )
    known = {v.technique: v.accuracy for v in variants if v.accuracy}
    shares = {name: [100 * v for v in (a.fraction, *a.interval)] for name, a in known.items()}
    colours = [FAILURE if a.is_worse else MEASURED for a in known.values()]
    _add_points(fig, shares, colours, "%{y}: %{x:.2f} %")
    return fig


def _add_points(fig: go.Figure, values: Mapping[str, Sequence[float]], colours: Sequence[str], hover: str) -> None:
    """Add a point for each technique, from its value and the ends of its interval."""
    x, lows, highs = zip(*values.values(), strict=True) if values else ((), (), ())
    add_trace(
        fig,
        "scatter",
        x=x,
        y=list(values),
        mode="markers",
        marker={"color": colours, "size": 11},
        error_x=interval_bars(x, lows, highs),
        hovertemplate=f"{hover}<extra></extra>",
    )
    fig.update_yaxes(autorange="reversed")


def sizes(variants: Sequence[VariantResult]) -> go.Figure:
    """Return the sizes of the graphs on disk, and after gzip as in a download."""
    fig = figure(
        gettext("Size"), subtitle=gettext("● on disk, and after gzip"), x_title=gettext("size, kB"), y_title=""
    )
    names = [v.technique for v in variants]
    compressed = [v.gzip_bytes for v in variants if v.gzip_bytes is not None]
    for n_bytes, name, colour in (
        ([v.n_bytes for v in variants], gettext("graph"), MEASURED),
        (compressed, gettext("after gzip"), CAUTION),
    ):
        if len(n_bytes) == len(names):
            fig.add_bar(
                y=names,
                x=[n / 1e3 for n in n_bytes],
                orientation="h",
                name=name,
                marker={"color": colour},
                hovertemplate=f"%{{y}}: %{{x:.0f}} kB<extra>{name}</extra>",
            )
    fig.update_layout(showlegend=True, barmode="group")
    fig.update_yaxes(autorange="reversed")
    return fig
