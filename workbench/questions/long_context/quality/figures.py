"""Figures of quality: retrieval by depth and length, and divergence by position."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import INK, figure, styles_of
from workbench.questions.long_context.figures import HEIGHT_PX, add_line, set_log_axis, tokens_label
from workbench.questions.long_context.quality.rows import Retrieval, TextStretch

COLOURS = [[0.0, "#D55E00"], [0.5, "#F0E442"], [1.0, "#009E73"]]


def heat_map(rows: Sequence[Retrieval], *, title: str, window_tokens: int | None) -> go.Figure:
    """Return the share of right answers of a variant and task by depth and length, and where its window ends."""
    lengths = sorted({r.length_tokens for r in rows})
    depths = sorted({r.depth_fraction for r in rows})
    by_place = {(r.depth_fraction, r.length_tokens): r for r in rows}
    fig = figure(
        title,
        subtitle=gettext("green is better · ● share of correct answers, % · hover: 95 % interval"),
        x_title=gettext("length of the text, tokens"),
        y_title=gettext("depth of the fact, % of the text"),
        height=HEIGHT_PX,
    )
    grid = [[by_place.get((d, n)) for n in lengths] for d in depths]
    look = {"colorscale": COLOURS, "zmin": 0, "zmax": 100, "showscale": False, "xgap": 2, "ygap": 2}
    fig.add_heatmap(
        x=[tokens_label(n) for n in lengths],
        y=[f"{100 * d:.0f}" for d in depths],
        z=[[100 * r.right_fraction.value if r else None for r in line] for line in grid],
        text=[[f"{100 * r.right_fraction.value:.0f}" if r else "" for r in line] for line in grid],
        texttemplate="%{text}",
        customdata=[[_hover_text(r) for r in line] for line in grid],
        hovertemplate=gettext("%{x} tokens, %{y} % deep: %{customdata}<extra></extra>"),
        **look,
    )
    for column, n in enumerate(lengths):
        if window_tokens and n > window_tokens:  # above this line a fact lies outside the window of the question
            y = (len(depths) - 1) * (1 - window_tokens / n)
            ends = {"x0": column - 0.48, "x1": column + 0.48, "y0": y, "y1": y}
            fig.add_shape(type="line", line={"color": INK, "width": 3, "dash": "dot"}, **ends)
    fig.update_xaxes(type="category")
    return fig.update_yaxes(type="category", autorange="reversed")


def _hover_text(row: Retrieval | None) -> str:
    if row is None:
        return gettext("not asked")
    share = row.right_fraction
    return f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}], n = {row.n}"


def divergence_by_position(
    rows: Sequence[TextStretch], *, labels: Mapping[str, str], chosen: str | None, base: str
) -> go.Figure:
    """Return the divergence from the base variant by position in a text; the chosen variant is drawn strong."""
    fig = figure(
        gettext("Divergence by position"),
        subtitle=gettext("lower is better · ● KL to full attention, mean of windows"),
        x_title=gettext("position in the text, tokens"),
        y_title=gettext("KL, nat/token"),
        has_legend=True,
        height=HEIGHT_PX,
    )
    for name, style in styles_of([n for n in dict.fromkeys(r.variant for r in rows) if n != base]).items():
        mine = [r for r in rows if r.variant == name and r.kl_nat_per_token > 1e-9]
        by_middle = {(r.first_position + r.end_position) / 2: r.kl_nat_per_token for r in mine}
        look = {"marker_size": 7, "line_width": 3} if name == chosen else {"marker_size": 5, "opacity": 0.55}
        add_line(fig, labels[name], by_middle, style, "%{y:.3g} nat/token", **look)
    set_log_axis(fig)
    return fig
