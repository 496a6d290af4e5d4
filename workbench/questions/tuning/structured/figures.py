"""Figures of structured output: the valid share of both kinds, and TTFT and TPOT over those of plain answers."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import INK, MEASURED, figure, interval_bars
from workbench.questions.tuning.structured.findings import kind_name
from workbench.questions.tuning.structured.rows import AnswersOfKind, StructureCost


def valid_by_kind(rows: Sequence[AnswersOfKind]) -> go.Figure:
    """Return the share of valid answers of both kinds with Wilson's intervals."""
    fig = figure(
        gettext("Valid answers"),
        subtitle=gettext("higher is better · ● measured, Wilson's 95 %"),
        x_title=gettext("answers that keep to the schema, %"),
        y_title="",
        height=300,
    )
    values, lows, highs = ([100 * getattr(r.valid, end) for r in rows] for end in ("value", "low", "high"))
    fig.add_scatter(
        x=values,
        y=[kind_name(r) for r in rows],
        error_x=interval_bars(values, lows, highs),
        mode="markers",
        marker={"color": MEASURED, "size": 10},
        hovertemplate="%{y}: %{x:.3g} %<extra></extra>",
    )
    return fig.update_xaxes(range=[-3, 103])


def cost_of_schema(cost: StructureCost) -> go.Figure:
    """Return TTFT and TPOT with the schema over those without."""
    fig = figure(
        gettext("What the schema costs under the load"),
        subtitle=gettext("lower is better · ● measured, 95 % over rounds · dashed: plain"),
        x_title=gettext("with the schema over without"),
        y_title="",
        height=300,
    )
    ratios = {"TTFT": cost.ttft_ratio, "TPOT": cost.tpot_ratio}
    fig.add_scatter(
        x=[r.value for r in ratios.values()],
        y=list(ratios),
        error_x=interval_bars(
            [r.value for r in ratios.values()], [r.low for r in ratios.values()], [r.high for r in ratios.values()]
        ),
        mode="markers",
        marker={"color": MEASURED, "size": 10},
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )
    fig.add_vline(x=1, line={"color": INK, "dash": "dash", "width": 1.5})
    return fig
