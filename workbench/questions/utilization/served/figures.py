"""Figures of what techniques do for the use of the device by a served model, and for its tokens per second."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import CAUTION, INK, MEASURED, PUBLISHED, add_bars, figure, interval_bars
from workbench.questions.utilization.served.rows import ServedGain


def utilization(rows: Sequence[ServedGain], claimed: Mapping[str, tuple[float, float]]) -> go.Figure:
    """Return the utilization with and without each technique, and the claimed range (percent by technique) as a bar behind it."""
    fig = figure(
        gettext("Utilization by technique"),
        subtitle=gettext("● measured, 95 % of batch means of a second · ▬ bar: claimed with the technique"),
        x_title=gettext("time in which any kernel ran, %"),
        y_title="",
        has_legend=True,
        height=300,
    )
    labels = [gettext(r.label) for r in rows]
    ranges = [claimed.get(r.technique) for r in rows]
    add_bars(
        fig,
        [label for label, ends in zip(labels, ranges, strict=True) if ends],
        [ends[1] - ends[0] for ends in ranges if ends],
        PUBLISHED,
        name=gettext("claimed"),
        hover="%{customdata}<extra></extra>",
        customdata=[
            gettext("claimed {low} to {high} %").format(low=f"{ends[0]:g}", high=f"{ends[1]:g}")
            for ends in ranges
            if ends
        ],
        base=[ends[0] for ends in ranges if ends],
        width=0.5,
        opacity=0.35,
    )
    for name, marker, sides in (
        (gettext("without"), {"color": CAUTION, "size": 15, "symbol": "circle-open"}, [r.without for r in rows]),
        (gettext("with"), {"color": MEASURED, "size": 9}, [r.with_it for r in rows]),
    ):
        known = [(label, s.utilization_fraction) for label, s in zip(labels, sides, strict=True)]
        shares = [(label, used) for label, used in known if used is not None]
        values, lows, highs = ([100 * getattr(u, end) for _, u in shares] for end in ("value", "low", "high"))
        fig.add_scatter(
            x=values,
            y=[label for label, _ in shares],
            name=name,
            mode="markers",
            marker=marker,
            error_x=interval_bars(values, lows, highs, colour=str(marker["color"])),
            hovertemplate=f"%{{y}}: %{{x:.3g}} %<extra>{name}</extra>",
        )
    return fig.update_xaxes(range=[0, 103]).update_yaxes(autorange="reversed")


def throughput(rows: Sequence[ServedGain]) -> go.Figure:
    """Return the tokens per second with each technique over those without it."""
    fig = figure(
        gettext("Tokens per second by technique"),
        subtitle=gettext("● measured, 95 % over rounds · dashed: no gain"),
        x_title=gettext("tokens/s with over without, ×"),
        y_title="",
        height=300,
    )
    ratios = [r.throughput_ratio for r in rows]
    fig.add_scatter(
        x=[r.value for r in ratios],
        y=[gettext(r.label) for r in rows],
        mode="markers",
        marker={"color": MEASURED, "size": 11},
        error_x=interval_bars([r.value for r in ratios], [r.low for r in ratios], [r.high for r in ratios]),
        hovertemplate="%{y}: %{x:.3g}×<extra></extra>",
    )
    fig.add_vline(x=1.0, line={"color": INK, "dash": "dash", "width": 1.5})
    return fig.update_yaxes(autorange="reversed")
