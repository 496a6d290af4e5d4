"""Figures of the quantization question."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.catalog.tables import Claim
from workbench.core.quantization import METHODS, VariantResult
from workbench.core.units import three_digits
from workbench.figures.theme import BEST, INK, MEASURED, PUBLISHED, figure

KL_FLOOR = 1e-7  # where an exact copy is drawn on the logarithmic axis


def accuracy_against_speed(results: Sequence[VariantResult], *, batch: int, best: str | None) -> go.Figure:
    """Mean KL to the FP32 reference over the median step time, with 95 % intervals."""
    fig = figure(
        "Accuracy against speed",
        subtitle=f"lower left is better · ● measured at batch {batch}",
        x_title="time per decoding step, ms (median)",
        y_title="KL to FP32, nat/token (mean)",
    )
    shown = [r for r in results if r.mean_kl_nat_per_token and r.decode_at(batch)]
    for index, r in enumerate(
        sorted(shown, key=lambda r: r.mean_kl_nat_per_token.value if r.mean_kl_nat_per_token else 0)
    ):
        kl, time = r.mean_kl_nat_per_token, r.decode_at(batch)
        assert kl is not None
        assert time is not None
        y = max(kl.value, KL_FLOOR)
        color = BEST if r.method == best else MEASURED
        exact = " (exact)" if kl.value < KL_FLOOR else ""
        fig.add_scatter(
            x=[time.p50_s * 1e3],
            y=[y],
            mode="markers+text",
            name=METHODS[r.method].label,
            text=[METHODS[r.method].label + exact],
            textposition="top right" if index % 2 else "bottom right",
            textfont={"color": INK, "size": 11},
            marker={
                "color": color,
                "size": 12 if r.method == best else 9,
                "symbol": "diamond" if METHODS[r.method].runtime == "onnxruntime" else "circle",
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [(time.p50_high_s - time.p50_s) * 1e3],
                "arrayminus": [(time.p50_s - time.p50_low_s) * 1e3],
                "color": color,
                "thickness": 1,
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [max(kl.high, KL_FLOOR) - y],
                "arrayminus": [y - max(kl.low, KL_FLOOR)],
                "color": color,
                "thickness": 1,
            },
            hovertemplate=f"{METHODS[r.method].label}{exact}<br>KL {three_digits(kl.value)} nat/token<br>p50 %{{x:.3g}} ms, p99 {three_digits(time.p99_s * 1e3)} ms<extra></extra>",
        )
    times = [t.p50_s * 1e3 for r in shown if (t := r.decode_at(batch))]
    if times:
        fig.update_xaxes(
            type="log", range=_log_range(min(times), max(times) * 1.7), dtick=None, nticks=6, minor={"showgrid": False}
        )
    fig.update_yaxes(type="log", exponentformat="power", dtick=1)
    return fig


def _log_range(low: float, high: float) -> list[float]:
    from math import log10

    margin = 0.08 * (log10(high) - log10(low)) + 0.05
    return [log10(low) - margin, log10(high) + margin]


def claimed_and_measured(
    points: Sequence[tuple[str, float, float, float]], claims: Sequence[Claim], *, baseline: str, batch: int
) -> go.Figure:
    """Published speed-up ranges as bands, measured speed-ups as points on them.

    Args:
        points: (technique as the claim names it, speed-up, low, high) of each measured method.
        claims: The claims with the metric "speedup".
        baseline: What the measured speed-ups are relative to.
        batch: Batch size of the measurements.
    """
    fig = figure(
        "Claimed and measured speed-up",
        subtitle="▬ published (FAQ table) · ● measured here",
        x_title=f"speed-up over {baseline}, × (decoding, batch {batch})",
        y_title="technique (ranges in ×)",
    )
    names = [c.technique for c in claims]
    for claim in claims:
        fig.add_scatter(
            x=[claim.low, claim.high],
            y=[claim.technique, claim.technique],
            mode="lines+text",
            name=f"claim: {claim.technique}",
            line={"color": PUBLISHED, "width": 9},
            opacity=0.75,
            text=["", f"  {claim.shown_range}"],
            textposition="middle right",
            hovertemplate=f"{claim.technique}: {claim.shown_range}, published<extra></extra>",
        )
    best = {name: max((p for p in points if p[0] == name), key=lambda p: p[1], default=None) for name in names}
    for point in points:
        technique, value, low, high = point
        if technique not in names:
            continue
        fig.add_scatter(
            x=[value],
            y=[technique],
            mode="markers+text",
            name=f"measured: {technique}",
            text=[f"{value:.2f}×" if point == best[technique] else ""],
            textposition="top center",
            marker={"color": MEASURED, "size": 10, "opacity": 1 if point == best[technique] else 0.45},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - value],
                "arrayminus": [value - low],
                "color": MEASURED,
            },
            hovertemplate=f"{technique}: {value:.2f}× [{low:.2f}, {high:.2f}], measured<extra></extra>",
        )
    top = max([c.high or 0 for c in claims] + [p[1] for p in points] + [1])
    fig.update_xaxes(range=[0, top * 1.2])
    fig.update_yaxes(categoryorder="array", categoryarray=names[::-1], title=None, ticksuffix="  ")
    fig.add_vline(x=1, line={"color": INK, "width": 1, "dash": "dot"})
    return fig
