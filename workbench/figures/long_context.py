"""Figures of long contexts: memory, waiting times, and what is found where."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.attention import TALL_PX, length_axis, tokens_label
from workbench.figures.serving_speed import styles_of
from workbench.figures.theme import BEST, CAUTION, FAILURE, INK, MEASURED, figure

Row = Mapping[str, Any]
COLOURS = [[0.0, "#D55E00"], [0.5, "#F0E442"], [1.0, "#009E73"]]


def memory_by_context(
    *,
    contexts: Sequence[int],
    cache_bytes: Sequence[float],
    weight_bytes: float,
    memory_bytes: float,
    context_tokens: int,
    measured: Sequence[tuple[str, int, float]] = (),
) -> go.Figure:
    """Weights and cache over the context, under what the device has.

    Args:
        contexts: Tokens of each sequence.
        cache_bytes: Of all sequences at each context.
        weight_bytes: Of the whole model on the devices.
        memory_bytes: Of the devices together.
        context_tokens: Where the line stands.
        measured: Name, tokens and bytes of caches that were really taken.
    """
    fig = figure(
        "Memory by context",
        subtitle="◌ estimated · ● really allocated · dotted: the devices' memory",
        x_title="context of each sequence, tokens",
        y_title="memory, GiB",
    )
    gib = 2**30
    fig.add_scatter(
        x=list(contexts),
        y=[(weight_bytes + b) / gib for b in cache_bytes],
        mode="lines",
        name="weights and cache",
        line={"color": MEASURED, "width": 2, "dash": "dash"},
        hovertemplate="%{x} tokens: %{y:.3g} GiB<extra></extra>",
    )
    fig.add_scatter(
        x=list(contexts),
        y=[weight_bytes / gib] * len(contexts),
        mode="lines",
        name="weights",
        line={"color": CAUTION, "width": 1.5, "dash": "dash"},
        hovertemplate="weights: %{y:.3g} GiB<extra></extra>",
    )
    if measured:
        fig.add_scatter(
            x=[n for _, n, _ in measured],
            y=[b / gib for _, _, b in measured],
            mode="markers",
            name="allocated",
            text=[name for name, _, _ in measured],
            marker={"color": BEST, "size": 9},
            hovertemplate="%{text}, %{x} tokens: %{y:.3g} GiB<extra></extra>",
        )
    fig.add_hline(y=memory_bytes / gib, line={"color": FAILURE, "width": 1.5, "dash": "dot"})
    fig.add_vline(x=context_tokens, line={"color": INK, "width": 1, "dash": "dot"})
    length_axis(fig, contexts)
    fig.update_yaxes(rangemode="tozero")
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.16, "font": {"size": 11}}, height=TALL_PX)
    return fig


def waiting_times(series: Mapping[str, Sequence[Row]], *, context_tokens: int) -> go.Figure:
    """Time to the first token over the context, and below it the time of each further one.

    Args:
        series: Rows by how the model was run.
        context_tokens: Where the line stands.
    """
    fig = figure(
        "Time to the first token",
        subtitle="lower is better · ● measured · ○ prefix in the cache",
        x_title="context, tokens",
        y_title="first token, s",
    )
    styles = styles_of(list(series))
    lengths = [r["length_tokens"] for rows in series.values() for r in rows]
    for name, rows in series.items():
        colour, symbol = styles[name]
        x = [r["length_tokens"] for r in rows]
        look = {"mode": "lines+markers", "line": {"color": colour, "width": 1.5}, "legendgroup": name}
        fig.add_scatter(
            x=x,
            y=[r["ttft_s"] for r in rows],
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 7},
            hovertemplate=f"{name}, %{{x}} tokens: %{{y:.3g}} s<extra></extra>",
            **look,
        )
        if all("ttft_prefix_s" in r for r in rows):
            fig.add_scatter(
                x=x,
                y=[r["ttft_prefix_s"] for r in rows],
                name=f"{name}, prefix cached",
                mode="lines+markers",
                showlegend=False,
                line={"color": colour, "width": 1, "dash": "dot"},
                marker={"color": colour, "symbol": f"{symbol}-open", "size": 7},
                hovertemplate=f"{name}, prefix in the cache, %{{x}} tokens: %{{y:.3g}} s<extra></extra>",
            )
        fig.add_scatter(
            x=x,
            y=[r["step_p50_s"] * 1e3 for r in rows],
            name=name,
            yaxis="y2",
            showlegend=False,
            marker={"color": colour, "symbol": symbol, "size": 7},
            hovertemplate=f"{name}, %{{x}} tokens: %{{y:.3g}} ms per token<extra></extra>",
            **look,
        )
    length_axis(fig, lengths)
    fig.update_yaxes(type="log", exponentformat="power", dtick=1, tickfont={"size": 10})
    second = dict(fig.layout.yaxis.to_plotly_json())
    second |= {"domain": [0.0, 0.4], "anchor": "x", "title": {"text": "per token, ms", "font": {"size": 12}}}
    second |= {"dtick": None, "tickvals": [1, 2, 5, 10, 20, 50, 100, 200, 500]}
    fig.update_layout(yaxis={"domain": [0.46, 1.0]}, yaxis2=second, xaxis={"anchor": "y2"})
    if lengths and min(lengths) <= context_tokens <= max(lengths):
        fig.add_vline(x=context_tokens, line={"color": INK, "width": 1, "dash": "dot"})
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.16, "font": {"size": 11}}, height=TALL_PX)
    return fig


def heat_map(rows: Sequence[Row], *, title: str, window_tokens: int | None) -> go.Figure:
    """Share of right answers by depth and length; where a window ends is drawn in.

    Args:
        rows: Retrieval rows of one variant and task.
        title: What was varied.
        window_tokens: Of the variant, if it has a window.
    """
    lengths = sorted({r["length_tokens"] for r in rows})
    depths = sorted({r["depth_fraction"] for r in rows})
    by_place = {(r["depth_fraction"], r["length_tokens"]): r for r in rows}
    fig = figure(
        title,
        subtitle="green is better · ● share of right answers, % · hover: 95 % interval",
        x_title="length of the text, tokens",
        y_title="depth of the fact, % of the text",
    )
    grid = [[by_place.get((d, n)) for n in lengths] for d in depths]
    fig.add_heatmap(
        x=[tokens_label(n) for n in lengths],
        y=[f"{100 * d:.0f}" for d in depths],
        z=[[100 * r["right_fraction"] if r else None for r in line] for line in grid],
        text=[[f"{100 * r['right_fraction']:.0f}" if r else "" for r in line] for line in grid],
        texttemplate="%{text}",
        customdata=[[_told(r) for r in line] for line in grid],
        hovertemplate="%{x} tokens, %{y} % deep: %{customdata}<extra></extra>",
        colorscale=COLOURS,
        zmin=0,
        zmax=100,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    for column, n in enumerate(lengths):
        if window_tokens and n > window_tokens:  # above this line a fact lies outside the window of the question
            y = (len(depths) - 1) * (1 - window_tokens / n)
            fig.add_shape(
                type="line",
                x0=column - 0.48,
                x1=column + 0.48,
                y0=y,
                y1=y,
                line={"color": INK, "width": 3, "dash": "dot"},
            )
    fig.update_xaxes(type="category")
    fig.update_yaxes(type="category", autorange="reversed")
    fig.update_layout(height=TALL_PX)
    return fig


def _told(row: Row | None) -> str:
    if row is None:
        return "not asked"
    low, high = 100 * row["right_fraction_low"], 100 * row["right_fraction_high"]
    return f"{100 * row['right_fraction']:.0f} % [{low:.0f}, {high:.0f}], n = {row['n']}"


def divergence_by_position(
    rows: Sequence[Row], *, labels: Mapping[str, str], chosen: str, base: str | None = None
) -> go.Figure:
    """Divergence from full attention over the position in a text, by variant; the chosen one is drawn strong.

    Args:
        rows: Position rows of a run.
        labels: Names by variant.
        chosen: The variant that is looked at.
        base: The variant that all are compared with, which is left out.
    """
    fig = figure(
        "Divergence by position",
        subtitle="lower is better · ● KL to full attention, mean of windows",
        x_title="position in the text, tokens",
        y_title="KL, nat/token",
    )
    names = [n for n in dict.fromkeys(r["variant"] for r in rows) if n != base]
    styles = styles_of(names)
    for name in names:
        mine = [r for r in rows if r["variant"] == name and r["kl_nat_per_token"] > 1e-9]
        colour, symbol = styles[name]
        strong = name == chosen
        fig.add_scatter(
            x=[(r["first_position"] + r["end_position"]) / 2 for r in mine],
            y=[r["kl_nat_per_token"] for r in mine],
            mode="lines+markers",
            name=labels[name],
            opacity=1.0 if strong else 0.55,
            line={"color": colour, "width": 3 if strong else 1.2},
            marker={"color": colour, "symbol": symbol, "size": 7 if strong else 5},
            hovertemplate=f"{labels[name]}, position %{{x:.0f}}: %{{y:.3g}} nat/token<extra></extra>",
        )
    fig.update_yaxes(type="log", exponentformat="power", dtick=1)
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.16, "font": {"size": 11}}, height=TALL_PX)
    return fig
