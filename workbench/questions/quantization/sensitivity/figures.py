"""The figure of mixed-precision plans."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.catalog.formats import short_format
from workbench.core.language import gettext
from workbench.estimate.mixed_precision import Solution
from workbench.interface.theme import BEST, CAUTION, INK, MEASURED, figure, interval_bars
from workbench.questions.quantization.sensitivity.findings.plan_space import PlanSpace
from workbench.questions.quantization.sensitivity.rows import KL_FLOOR

CORNERS, CHOSEN = gettext("best plans"), gettext("chosen plan")


def damage_against_cost(space: PlanSpace, chosen: Solution) -> go.Figure:
    """Return the KL divergence over cost: predicted best plans, measured plans, uniform formats and the chosen plan."""
    fig = figure(
        gettext("KL divergence by budget"),
        subtitle=gettext("lower left is better · ◌ predicted · ● measured"),
        x_title=space.unit.axis,
        y_title=gettext("KL to the original, nat/token (mean)"),
    )
    measured = space.measured()

    def add(points: Sequence[tuple[float, float]], **style: object) -> None:
        costs, damages = ([p[i] for p in points] for i in (0, 1))
        fig.add_scatter(x=[c * space.unit.factor for c in costs], y=[max(d, KL_FLOOR) for d in damages], **style)

    add(
        [(s.cost, s.damage) for s in space.corners],
        mode="lines+markers",
        name=CORNERS,
        line={"color": MEASURED, "width": 1.5, "dash": "dot"},
        marker={"color": "rgba(0,114,178,0.35)", "size": 8, "symbol": "circle-open"},
        hovertemplate=gettext("%{x:.4g}: predicted KL %{y:.3g}<extra></extra>"),
    )
    if rest := [m for m in measured if m.is_random]:
        add(
            [(m.cost, m.kl.value) for m in rest],
            mode="markers",
            name=gettext("random plans"),
            marker={"color": INK, "size": 5, "symbol": "x-thin-open"},
            hovertemplate=gettext("random plan: %{x:.4g}, measured KL %{y:.3g}<extra></extra>"),
        )
    own = [m for m in measured if not m.is_random]
    add(
        [(m.cost, m.kl.value) for m in own],
        mode="markers",
        name=gettext("verified plans"),
        marker={"color": MEASURED, "size": 8},
        error_y=interval_bars(*([getattr(m.kl, end) for m in own] for end in ("value", "low", "high"))),
        hovertemplate=gettext("%{x:.4g}: measured KL %{y:.3g}<extra></extra>"),
    )
    shown = {short_format(name): s for name, s in space.uniform.items() if s.damage > 0}
    add(
        [(s.cost, s.damage) for s in shown.values()],
        mode="markers+text",
        name=gettext("uniform formats"),
        text=list(shown),
        textposition="top right",
        textfont={"color": INK, "size": 11},
        marker={"color": CAUTION, "size": 9, "symbol": "square"},
        hovertemplate=gettext("%{text} everywhere: %{x:.4g}, predicted KL %{y:.3g}<extra></extra>"),
    )
    add(
        [(chosen.cost, chosen.damage)],
        mode="markers",
        name=CHOSEN,
        marker={"color": BEST, "size": 15, "symbol": "diamond", "line": {"color": "#ffffff", "width": 1.5}},
        hovertemplate=gettext("chosen: %{x:.4g}, predicted KL %{y:.3g}<extra></extra>"),
    )
    fig.update_yaxes(type="log", exponentformat="power", dtick=1)
    return fig


def choose(fig: go.Figure, chosen: Solution, *, factor: float) -> go.Figure:
    """Move the marker of the chosen plan, in place: making the figure anew would take longer than answering."""
    fig.update_traces(
        selector={"name": CHOSEN}, x=[chosen.cost * factor], y=[max(chosen.damage, KL_FLOOR)], overwrite=True
    )
    return fig
