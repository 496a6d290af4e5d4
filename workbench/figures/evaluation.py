"""Figures of how far checkpoints and cache formats are from the model they stand for."""

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import plotly.graph_objects as go

from workbench.core.evaluation import KL_MARKS
from workbench.core.units import three_digits
from workbench.figures.serving_speed import styles_of
from workbench.figures.theme import BEST, INK, MEASURED, PUBLISHED, figure, interval_bars


def divergence(rows: Sequence[Mapping[str, Any]], *, labels: Mapping[str, str]) -> go.Figure:
    """Mean KL of each candidate with its interval, over the published bands.

    Args:
        rows: Candidates, least divergence first.
        labels: Short names by folder.
    """
    fig = figure(
        "How far from the original",
        subtitle="left is better · ● measured, 95 % · ▬ llama.cpp, 8B",
        x_title="KL to the original, nat/token (mean)",
        y_title="candidate (no unit)",
    )
    names = [labels[r["folder"]] for r in rows]
    fig.add_scatter(
        x=[r["mean_kl_nat_per_token"] for r in rows],
        y=names,
        mode="markers+text",
        name="measured",
        text=[f"  {three_digits(r['mean_kl_nat_per_token'])}" for r in rows],
        textposition="middle right",
        textfont={"color": INK, "size": 11},
        marker={"color": [BEST if i == 0 else MEASURED for i in range(len(rows))], "size": 10},
        error_x=interval_bars(
            *([r[f"mean_kl_nat_per_token{end}"] for r in rows] for end in ("", "_low", "_high")),
        ),
        hovertemplate="%{y}: KL %{x:.3g} nat/token<extra></extra>",
    )
    ends = [r["mean_kl_nat_per_token"] for r in rows] + [top for _, top in KL_MARKS]
    for name, top in KL_MARKS:
        fig.add_vline(x=top, line={"color": PUBLISHED, "width": 1.5, "dash": "dot"})
        fig.add_annotation(
            x=log10(top),
            y=1.0,
            yref="paper",
            yanchor="bottom",
            text=name,
            showarrow=False,
            font={"size": 11, "color": PUBLISHED},
        )
    fig.update_xaxes(
        type="log", exponentformat="power", dtick=1, tickangle=0, range=[log10(min(ends)) - 0.3, log10(max(ends)) + 1.1]
    )
    fig.update_yaxes(categoryorder="array", categoryarray=names[::-1], title=None, ticksuffix="  ")
    fig.update_layout(margin={"t": 84})
    return fig


def found_by_depth(rows: Sequence[Mapping[str, Any]], *, labels: Mapping[str, str], context_tokens: int) -> go.Figure:
    """Share of pass keys that were found, over their place in the text.

    Args:
        rows: Candidates with ``passkey_right_fraction_by_depth``.
        labels: Short names by folder.
        context_tokens: Length of the text.
    """
    fig = figure(
        "Pass keys found by depth",
        subtitle=f"higher is better · ● measured in {context_tokens} tokens of text",
        x_title="place of the key in the text, % of its length",
        y_title="keys found, %",
    )
    styles = styles_of([r["folder"] for r in rows])
    for r in rows:
        shares = r.get("passkey_right_fraction_by_depth") or []
        if not shares:
            continue
        colour, symbol = styles[r["folder"]]
        fig.add_scatter(
            x=[100 * i / max(1, len(shares) - 1) for i in range(len(shares))],
            y=[100 * s for s in shares],
            mode="lines+markers",
            name=labels[r["folder"]],
            line={"color": colour, "width": 1.5},
            marker={"color": colour, "symbol": symbol, "size": 8},
            hovertemplate=f"{labels[r['folder']]}, at %{{x}} %: %{{y:.0f}} %<extra></extra>",
        )
    lowest = min((100 * s for r in rows for s in r.get("passkey_right_fraction_by_depth") or []), default=0.0)
    fig.update_yaxes(range=[max(0.0, min(lowest - 5, 75)), 103])
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.22, "font": {"size": 11}})
    return fig
