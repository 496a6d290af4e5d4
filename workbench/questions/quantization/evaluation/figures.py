"""Figures of the distance of checkpoints and KV cache formats from the original model."""

from collections.abc import Mapping, Sequence
from math import log10

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.core.units import three_digits
from workbench.interface.theme import BEST, INK, MEASURED, PUBLISHED, add_points, figure, interval_bars, styles_of
from workbench.questions.quantization.evaluation.rows import CandidateResult
from workbench.questions.quantization.evaluation.spec import KL_MARKS


def divergence(rows: Sequence[CandidateResult], *, labels: Mapping[str, str]) -> go.Figure:
    """Return the mean KL of each candidate, least divergence first, with its interval and the published values."""
    fig = figure(
        gettext("KL divergence from the original"),
        subtitle=gettext("left is better · ● measured, 95 % · ▬ llama.cpp, 8B"),
        x_title=gettext("KL to the original, nat/token (mean)"),
        y_title=gettext("candidate"),
    )
    names = [labels[r.folder] for r in rows]
    fig.add_scatter(
        x=[r.kl_nat_per_token for r in rows],
        y=names,
        mode="markers+text",
        name=gettext("measured"),
        text=[f"  {three_digits(r.kl_nat_per_token)}" for r in rows],
        textposition="middle right",
        textfont={"color": INK, "size": 11},
        marker={"color": [BEST if i == 0 else MEASURED for i in range(len(rows))], "size": 10},
        error_x=interval_bars(
            *([getattr(r.accuracy.mean_kl_nat_per_token, end) for r in rows] for end in ("value", "low", "high"))
        ),
        hovertemplate="%{y}: KL %{x:.3g} nat/token<extra></extra>",
    )
    ends = [r.kl_nat_per_token for r in rows] + [top for _, top in KL_MARKS]
    look = {"showarrow": False, "font": {"size": 11, "color": PUBLISHED}}
    for name, top in KL_MARKS:
        fig.add_vline(x=top, line={"color": PUBLISHED, "width": 1.5, "dash": "dot"})
        fig.add_annotation(x=log10(top), y=1.0, yref="paper", yanchor="bottom", text=name, **look)
    fig.update_xaxes(
        type="log", exponentformat="power", dtick=1, tickangle=0, range=[log10(min(ends)) - 0.3, log10(max(ends)) + 1.1]
    )
    fig.update_yaxes(categoryorder="array", categoryarray=names[::-1], title=None, ticksuffix="  ")
    fig.update_layout(margin={"t": fig.layout.margin.t + 20})
    return fig


def retrieved_by_depth(rows: Sequence[CandidateResult], *, labels: Mapping[str, str], context_tokens: int) -> go.Figure:
    """Return the share of pass keys that each candidate retrieved, over their place in the text."""
    fig = figure(
        gettext("Pass keys retrieved by depth"),
        subtitle=gettext("higher is better · ● measured in {context} tokens of text").format(context=context_tokens),
        x_title=gettext("place of the key in the text, % of its length"),
        y_title=gettext("keys retrieved, %"),
        has_legend=True,
    )
    styles = styles_of([r.folder for r in rows])
    for row in rows:
        name, shares = labels[row.folder], row.passkey_right_fraction_by_depth
        x, y = [100 * i / max(1, len(shares) - 1) for i in range(len(shares))], [100 * s for s in shares]
        add_points(
            fig,
            x,
            y,
            styles[row.folder],
            name=name,
            hover=gettext("{candidate}, at %{{x}} %: %{{y:.0f}} %<extra></extra>").format(candidate=name),
        )
    lowest = min(100 * s for r in rows for s in r.passkey_right_fraction_by_depth)
    fig.update_yaxes(range=[max(0.0, min(lowest - 5, 75)), 103])
    return fig
