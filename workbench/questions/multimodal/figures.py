"""Figures of TTFT with images in vLLM."""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.estimate.image_time import TtftParts
from workbench.interface.theme import (
    BEST,
    CAUTION,
    FAILURE,
    INK,
    MEASURED,
    PUBLISHED,
    add_bars,
    add_line,
    figure,
    interval_bars,
)
from workbench.questions.multimodal.rows import BreakEven, Cell, Stream
from workbench.questions.multimodal.spec import CACHES

PARTS: tuple[tuple[str, str, Callable[[TtftParts], float]], ...] = (
    (gettext("processor (host)"), CAUTION, lambda p: p.accept_s),
    (gettext("encoder"), MEASURED, lambda p: p.encoder_s),
    (gettext("projector"), PUBLISHED, lambda p: p.projector_s),
    (gettext("language model"), BEST, lambda p: p.prompt_s),
)
CACHE_COLOURS = {"none": INK, "encoder": MEASURED, "prefix": BEST}


def ttft_parts(cells: Sequence[Cell]) -> go.Figure:
    """Return the parts of TTFT, stacked, for measured cells, with the predicted TTFT."""
    fig = figure(
        gettext("TTFT by part"),
        subtitle=gettext("● measured, median; ◇ predicted from other sizes"),
        x_title="TTFT, ms",
        y_title="",
        has_legend=True,
    )
    names = [c.label for c in cells]
    for name, colour, part_s in PARTS:
        hover = f"%{{y}}: %{{x:.1f}} ms<extra>{name}</extra>"
        add_bars(fig, names, [1e3 * part_s(c.parts) for c in cells], colour, name=name, hover=hover)
    fig.add_scatter(
        y=names,
        x=[1e3 * c.predicted.ttft_s for c in cells],
        mode="markers",
        name=gettext("predicted"),
        marker={"symbol": "diamond-open", "size": 9, "color": FAILURE},
        hovertemplate="%{y}: %{x:.1f} ms<extra>" + gettext("predicted") + "</extra>",
    )
    return fig.update_layout(barmode="stack").update_yaxes(autorange="reversed")


def time_by_hit_rate(streams: Sequence[Stream], evens: Sequence[BreakEven]) -> go.Figure:
    """Return mean TTFT by hit rate, a line for each cache; the crossing with no cache is the break-even."""
    fig = figure(
        gettext("TTFT by hit rate and cache"),
        subtitle=gettext("● measured mean, 95 % interval; dotted: predicted from all-miss and all-hit requests"),
        x_title=gettext("hit rate, %"),
        y_title=gettext("mean TTFT, ms"),
        has_legend=True,
    )
    for cache in dict.fromkeys(s.cache for s in streams):
        own = [s for s in streams if s.cache == cache]
        x, y = [100 * s.hit_rate for s in own], [1e3 * s.ttft_mean_s for s in own]
        low, high = ([1e3 * s.ttft_mean_interval_s[i] for s in own] for i in (0, 1))
        hover = f"%{{x:.0f}} %: %{{y:.1f}} ms<extra>{gettext(CACHES[cache])}</extra>"
        bars = interval_bars(y, low, high, colour=CACHE_COLOURS[cache])
        add_line(
            fig,
            x,
            y,
            CACHE_COLOURS[cache],
            name=gettext(CACHES[cache]),
            hover=hover,
            mode="lines+markers",
            error_y=bars,
        )
    for even in evens:
        line = {"color": CACHE_COLOURS[even.cache], "dash": "dot"}
        ends = [1e3 * even.missed_s, 1e3 * even.hit_s]
        fig.add_scatter(x=[0, 100], y=ends, mode="lines", showlegend=False, line=line, hoverinfo="skip")
    return fig.update_yaxes(rangemode="tozero")
