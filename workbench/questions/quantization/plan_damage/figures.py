"""The figure of a plan's damage over the calibration text."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.core.units import three_digits
from workbench.interface.theme import CAUTION, MEASURED, add_line, add_points, figure, interval_bars
from workbench.questions.quantization.plan_damage.rows import PlanDamage, by_text, rounded


def damage_by_calibration(rows: Sequence[PlanDamage], *, plan_label: str) -> go.Figure:
    """Return the KL divergence over the tokens of calibration text, with 95 % intervals; rounding without text is a line."""
    fig = figure(
        gettext("KL divergence by calibration text"),
        subtitle=gettext("lower is better · ● measured · {plan} · bars are 95 % intervals over windows").format(
            plan=plan_label
        ),
        x_title=gettext("calibration text, tokens"),
        y_title=gettext("KL to the original, nat/token (mean)"),
    )
    calibrated, plain = by_text(rows), rounded(rows)
    tokens, intervals = [r.calibration_tokens for r in calibrated], [r.mean_kl_nat_per_token for r in calibrated]
    kl = [i.value for i in intervals]
    hover, bars = (
        gettext("%{x} tokens: KL %{y:.3g}<extra></extra>"),
        interval_bars(kl, [i.low for i in intervals], [i.high for i in intervals]),
    )
    add_points(fig, tokens, kl, (MEASURED, "circle"), name="GPTQ", hover=hover, error_y=bars)
    if plain is not None and calibrated:
        level = plain.mean_kl_nat_per_token.value
        add_line(
            fig,
            (tokens[0], tokens[-1]),
            (level, level),
            CAUTION,
            name=gettext("rounded"),
            hover=gettext("rounded without text: KL %{y:.3g}<extra></extra>"),
            mode="lines+text",
            text=["", gettext("no text, rounded: {kl}").format(kl=three_digits(level))],
            textposition="bottom left",
            line={"width": 1.5, "dash": "dash"},
        )
    fig.update_xaxes(type="log", tickvals=tokens)
    fig.update_yaxes(rangemode="tozero")
    return fig
