"""Figures of speculation: the speed-up over batch size beside its prediction, and acceptance by kind of text."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import INK, STYLES, add_trace, figure, interval_bars
from workbench.questions.tuning.speculation.findings import class_label, curve
from workbench.questions.tuning.speculation.rows import Acceptance, SpeedUp
from workbench.questions.tuning.speculation.spec import label


def speedup_by_batch(rows: Sequence[SpeedUp], *, draft_tokens: int) -> go.Figure:
    """Return measured speed-ups as points and predicted ones as lines, over batch size."""
    fig = figure(
        gettext("Speed-up over batch size"),
        subtitle=gettext("higher is better · ● measured, 95 % · ◌ predicted, line"),
        x_title=gettext("batch size, sequences"),
        y_title=gettext("output tokens/s with drafts over without"),
        has_legend=True,
    )
    for (colour, symbol), method in zip(STYLES[1:], dict.fromkeys(r.method for r in rows), strict=False):
        own = curve(rows, method, draft_tokens)
        batches, name = [r.batch for r in own], label(method, draft_tokens)
        add_trace(
            fig,
            "scatter",
            x=batches,
            y=[r.predicted for r in own],
            mode="lines",
            line={"color": colour, "dash": "dot"},
            name=gettext("{name}, predicted").format(name=name),
            hovertemplate=gettext("batch %{x}: predicted %{y:.3g}") + "<extra></extra>",
        )
        add_trace(
            fig,
            "scatter",
            x=batches,
            y=[r.measured.value for r in own],
            error_y=interval_bars(
                [r.measured.value for r in own],
                [r.measured.low for r in own],
                [r.measured.high for r in own],
                colour=colour,
            ),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 9},
            name=name,
            hovertemplate=gettext("batch %{x}: measured %{y:.3g}") + "<extra></extra>",
        )
    fig.add_hline(y=1, line={"color": INK, "width": 1.5, "dash": "dash"})
    ticks = sorted({r.batch for r in rows})
    return fig.update_xaxes(type="log", tickvals=ticks, ticktext=[str(b) for b in ticks])


def acceptance_by_text(rows: Sequence[Acceptance], *, draft_tokens: int) -> go.Figure:
    """Return the tokens of a step by kind of text and method, with intervals over texts."""
    fig = figure(
        gettext("Tokens of a step by kind of text"),
        subtitle=gettext("higher is better · ● measured, 95 % over texts"),
        x_title=gettext("kind of text"),
        y_title=gettext("tokens a step"),
        has_legend=True,
    )
    for (colour, symbol), method in zip(STYLES[1:], dict.fromkeys(r.method for r in rows), strict=False):
        own = [r for r in rows if (r.method, r.draft_tokens) == (method, draft_tokens)]
        values = [r.tokens_per_step for r in own]
        add_trace(
            fig,
            "scatter",
            x=[class_label(r.text_class) for r in own],
            y=[v.value for v in values],
            error_y=interval_bars(
                [v.value for v in values], [v.low for v in values], [v.high for v in values], colour=colour
            ),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 10},
            name=label(method, draft_tokens),
            hovertemplate=gettext("%{x}: %{y:.3g} tokens a step") + "<extra></extra>",
        )
    return fig.update_yaxes(rangemode="tozero")
