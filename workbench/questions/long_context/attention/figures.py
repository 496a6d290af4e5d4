"""Figures of attention techniques over length."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.attention.rows import Cell
from workbench.core.language import gettext
from workbench.core.units import GIB
from workbench.interface.theme import figure, set_second_part
from workbench.questions.long_context.attention.rows import CEILINGS
from workbench.questions.long_context.figures import HEIGHT_PX, add_line, set_length_axis, set_log_axis
from workbench.questions.long_context.quality.rows import Retrieval

Styles = Mapping[str, tuple[str, str]]
TITLES = {"prefill": gettext("Prefill time, one layer"), "decode": gettext("Time of a decode step, one layer")}


def time_and_memory(cells: Sequence[Cell], *, phase: str, length_tokens: int, styles: Styles) -> go.Figure:
    """Return the time of one layer's attention over length, and below it the peak memory; both zoom together.

    Args:
        cells: Measured cells of one phase.
        phase: "prefill" or "decode".
        length_tokens: Where the line stands.
        styles: Colour and symbol by technique.
    """
    has_memory = any(r.peak_bytes for r in cells)
    fig = figure(
        TITLES[phase],
        subtitle=gettext("lower is better · ● measured, median · below: peak memory")
        if has_memory
        else gettext("lower is better · ● measured, median"),
        x_title=gettext("context, tokens"),
        y_title=gettext("time, ms"),
        has_legend=True,
        height=HEIGHT_PX,
    )
    for name, style in styles.items():
        mine = sorted((r for r in cells if r.technique == name), key=lambda r: r.length_tokens)
        if not mine:
            continue
        label = mine[0].label
        add_line(
            fig, label, {r.length_tokens: r.p50_s.value * 1e3 for r in mine}, style, "%{y:.3g} ms", legendgroup=name
        )
        if has_memory:
            peaks = {r.length_tokens: (r.peak_bytes or 0) / GIB for r in mine}
            add_line(fig, label, peaks, style, "%{y:.3g} GiB", yaxis="y2", showlegend=False, legendgroup=name)
    set_log_axis(fig)
    if has_memory:
        set_second_part(fig, gettext("peak memory, GiB"))
    set_length_axis(fig, [r.length_tokens for r in cells], marked=length_tokens)
    return fig


def ceiling_share(cells: Sequence[Cell], *, phase: str, length_tokens: int, styles: Styles) -> go.Figure:
    """Return the share of the device's ceiling that each technique reaches over length; see ``time_and_memory``."""
    fig = figure(
        gettext("Share of the {ceiling}").format(ceiling=CEILINGS[phase]),
        subtitle=gettext("higher is better · ● both measured in one process"),
        x_title=gettext("context, tokens"),
        y_title=gettext("% of the {ceiling}").format(ceiling=CEILINGS[phase]),
        height=HEIGHT_PX,
    )
    for name, style in styles.items():
        mine = [r for r in cells if r.technique == name and r.ceiling_fraction is not None]
        if mine:
            shares = {r.length_tokens: 100 * (r.ceiling_fraction or 0.0) for r in mine}
            add_line(fig, mine[0].label, shares, style, "%{y:.0f} %")
    set_length_axis(fig, [r.length_tokens for r in cells], marked=length_tokens)
    return fig.update_yaxes(rangemode="tozero")


def retrieval_by_length(
    rows: Sequence[Retrieval], *, labels: Mapping[str, str], styles: Styles, length_tokens: int | None
) -> go.Figure:
    """Return the share of hidden facts that a variant retrieves, over length."""
    fig = figure(
        gettext("Retrieval by length"),
        subtitle=gettext("higher is better · ● all depths and tasks together"),
        x_title=gettext("context, tokens"),
        y_title=gettext("correct answers, %"),
        has_legend=True,
        height=HEIGHT_PX,
    )
    lengths = sorted({r.length_tokens for r in rows})
    for name, style in styles.items():
        cells = {n: [r for r in rows if r.variant == name and r.length_tokens == n] for n in lengths}
        if all(cells.values()):
            right = {
                n: 100 * sum(r.right_fraction.value * r.n for r in c) / sum(r.n for r in c) for n, c in cells.items()
            }
            add_line(fig, labels[name], right, style, "%{y:.0f} %")
    set_length_axis(fig, lengths, marked=length_tokens)
    return fig.update_yaxes(range=[-3, 103])
