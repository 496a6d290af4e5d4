"""Figures of plans that give each layer a precision of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

import plotly.graph_objects as go

from workbench.core.units import three_digits
from workbench.estimate.mixed_precision import Solution
from workbench.figures.theme import BEST, CAUTION, INK, MEASURED, figure, interval_bars

KL_FLOOR = 1e-6  # where a plan without damage is drawn on the logarithmic axis
CORNERS, CHOSEN = "best plans", "chosen plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPlan:
    """A plan whose divergence was measured."""

    cost: float
    kl: float
    low: float
    high: float
    is_random: bool


def damage_against_cost(
    corners: Sequence[Solution],
    chosen: Solution,
    *,
    uniform: Mapping[str, Solution],
    measured: Sequence[MeasuredPlan],
    axis: str,
    factor: float,
) -> go.Figure:
    """KL divergence over cost: the best plans that adding up predicts, measured plans on them, single formats, the choice.

    Args:
        corners: Best plans from the cheapest on.
        chosen: The plan that the budget buys.
        uniform: One format everywhere, by its short name.
        measured: Plans that were measured.
        axis: Title of the cost axis, with its unit.
        factor: From costs to the numbers on the axis.
    """
    fig = figure(
        "What a budget buys",
        subtitle="lower left is better · ◌ predicted · ● measured",
        x_title=axis,
        y_title="KL to the original, nat/token (mean)",
    )
    fig.add_scatter(
        x=[s.cost * factor for s in corners],
        y=[max(s.damage, KL_FLOOR) for s in corners],
        mode="lines+markers",
        name=CORNERS,
        line={"color": MEASURED, "width": 1.5, "dash": "dot"},
        marker={"color": "rgba(0,114,178,0.35)", "size": 8, "symbol": "circle-open"},
        hovertemplate="%{x:.4g}: predicted KL %{y:.3g}<extra></extra>",
    )
    rest = [m for m in measured if m.is_random]
    if rest:
        fig.add_scatter(
            x=[m.cost * factor for m in rest],
            y=[m.kl for m in rest],
            mode="markers",
            name="random plans",
            marker={"color": INK, "size": 5, "symbol": "x-thin-open"},
            hovertemplate="random plan: %{x:.4g}, measured KL %{y:.3g}<extra></extra>",
        )
    own = [m for m in measured if not m.is_random]
    fig.add_scatter(
        x=[m.cost * factor for m in own],
        y=[m.kl for m in own],
        mode="markers",
        name="verified plans",
        marker={"color": MEASURED, "size": 8},
        error_y=interval_bars([m.kl for m in own], [m.low for m in own], [m.high for m in own]),
        hovertemplate="%{x:.4g}: measured KL %{y:.3g}<extra></extra>",
    )
    shown = {name: s for name, s in uniform.items() if s.damage > 0}
    fig.add_scatter(
        x=[s.cost * factor for s in shown.values()],
        y=[max(s.damage, KL_FLOOR) for s in shown.values()],
        mode="markers+text",
        name="one format everywhere",
        text=list(shown),
        textposition="top right",
        textfont={"color": INK, "size": 11},
        marker={"color": CAUTION, "size": 9, "symbol": "square"},
        hovertemplate="%{text} everywhere: %{x:.4g}, predicted KL %{y:.3g}<extra></extra>",
    )
    fig.add_scatter(
        x=[chosen.cost * factor],
        y=[max(chosen.damage, KL_FLOOR)],
        mode="markers",
        name=CHOSEN,
        marker={"color": BEST, "size": 15, "symbol": "diamond", "line": {"color": "#ffffff", "width": 1.5}},
        hovertemplate="chosen: %{x:.4g}, predicted KL %{y:.3g}<extra></extra>",
    )
    fig.update_yaxes(type="log", exponentformat="power", dtick=1)
    return fig


def choose(fig: go.Figure, chosen: Solution, *, factor: float) -> go.Figure:
    """Move the marker of the chosen plan, in place: making the figure anew would take longer than answering."""
    fig.update_traces(
        selector={"name": CHOSEN}, x=[chosen.cost * factor], y=[max(chosen.damage, KL_FLOOR)], overwrite=True
    )
    return fig


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCell:
    """One layer group of a heat map."""

    group: str
    layer: int | None
    role: str
    format: str
    """Short name of what the plan gives it."""
    kl: float
    """That colours it."""
    hint: str


def plan_heat_map(cells: Sequence[PlanCell], *, coloured_by: str) -> str:
    """Layers down, roles across: the text is the plan, the colour how much a group suffers.

    Args:
        cells: All layer groups of the model.
        coloured_by: What the colour means, in words.
    """
    roles = list(dict.fromkeys(c.role for c in cells))
    layers = list(dict.fromkeys(c.layer for c in cells))
    by_place = {(c.layer, c.role): c for c in cells}
    logs = [log10(max(c.kl, KL_FLOOR)) for c in cells]
    low, span = min(logs), (max(logs) - min(logs)) or 1.0
    head = "".join(f"<th scope='col'>{escape(role)}</th>" for role in roles)
    lines = []
    for layer in layers:
        boxes = []
        for role in roles:
            cell = by_place.get((layer, role))
            if cell is None:
                boxes.append("<td>–</td>")
                continue
            share = 0.08 + 0.5 * (log10(max(cell.kl, KL_FLOOR)) - low) / span
            boxes.append(
                f"<td data-group='{escape(cell.group)}' title='{escape(cell.hint)}' "
                f"style='background:rgba(230,159,0,{share:.2f})'>{escape(cell.format)}</td>"
            )
        name = "–" if layer is None else str(layer)
        lines.append(f"<tr><th scope='row'>{name}</th>{''.join(boxes)}</tr>")
    return (
        f"<div class='wb-heat'><p><b>The plan, layer by layer</b><br><small>text: format · darker: {escape(coloured_by)}"
        f" · point at a cell for all formats</small></p><div class='wb-scroll'><table><thead><tr><th scope='col'>layer</th>"
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></div>"
    )


def damage_by_calibration(rows: Sequence[Mapping[str, float]], *, plan_label: str) -> go.Figure:
    """KL divergence over the tokens that GPTQ saw, with 95 % intervals; no text at all is a line across.

    Args:
        rows: Results of a ``plan_damage`` run.
        plan_label: What was measured, in words.
    """
    fig = figure(
        "How much calibration text is enough",
        subtitle=f"lower is better · ● measured · {plan_label} · bars are 95 % intervals over windows",
        x_title="calibration text, tokens",
        y_title="KL to the original, nat/token (mean)",
    )
    seen = [r for r in rows if r["calibration_tokens"]]
    fig.add_scatter(
        x=[r["calibration_tokens"] for r in seen],
        y=[r["mean_kl_nat_per_token"] for r in seen],
        mode="lines+markers",
        name="GPTQ",
        line={"color": MEASURED, "width": 1.5},
        marker={"color": MEASURED, "size": 9},
        error_y=interval_bars(
            *([r[f"mean_kl_nat_per_token{end}"] for r in seen] for end in ("", "_low", "_high")),
        ),
        hovertemplate="%{x} tokens: KL %{y:.3g}<extra></extra>",
    )
    plain = next((r for r in rows if not r["calibration_tokens"]), None)
    if plain is not None and seen:
        level = plain["mean_kl_nat_per_token"]
        ends = [seen[0]["calibration_tokens"], seen[-1]["calibration_tokens"]]
        fig.add_scatter(
            x=ends,
            y=[level, level],
            mode="lines+text",
            name="rounded",
            text=["", f"no text, rounded: {three_digits(level)}"],
            textposition="bottom left",
            line={"color": CAUTION, "width": 1.5, "dash": "dash"},
            hovertemplate="rounded without text: KL %{y:.3g}<extra></extra>",
        )
    fig.update_xaxes(type="log", tickvals=[r["calibration_tokens"] for r in seen])
    fig.update_yaxes(rangemode="tozero")
    return fig
