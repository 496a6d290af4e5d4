"""Figures of accuracy, speed and claims of several precisions."""

from collections.abc import Sequence
from math import log10

import plotly.graph_objects as go

from workbench.catalog.tables import Claim
from workbench.compress.methods import METHODS
from workbench.compress.rows import VariantResult
from workbench.core.language import gettext
from workbench.core.units import three_digits
from workbench.interface.theme import BEST, INK, MEASURED, PUBLISHED, figure, interval_bars

KL_FLOOR = 1e-7  # where an exact copy is drawn on the logarithmic axis
PLOT_PX, LETTER_PX = (255.0, 240.0), 6.0
"""Size of the plot beside another one, and mean width of a label's letters."""
Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""


def accuracy_against_speed(results: Sequence[VariantResult], *, batch: int, best: str | None) -> go.Figure:
    """Return the mean KL to the FP32 reference over the median step time, with 95 % intervals."""
    fig = figure(
        gettext("Accuracy against speed"),
        subtitle=gettext("lower left is better · ● measured at batch {batch}").format(batch=batch),
        x_title=gettext("time per decoding step, ms (median)"),
        y_title=gettext("KL to FP32, nat/token (mean)"),
    )
    shown = sorted(
        ((r, r.accuracy.mean_kl_nat_per_token, time) for r in results if r.accuracy and (time := r.decode_at(batch))),
        key=lambda item: item[1].value,
    )
    times = [t.p50_s * 1e3 for _, _, t in shown]
    heights = [max(kl.value, KL_FLOOR) for _, kl, _ in shown]
    labels = [METHODS[r.method].label + (gettext(" (exact)") if kl.value < KL_FLOOR else "") for r, kl, _ in shown]
    fig.add_scatter(  # one trace: every trace more costs the reader about ten milliseconds a redraw
        x=times,
        y=heights,
        mode="markers+text",
        name=gettext("measured"),
        text=labels,
        textposition=_label_places(times, heights, labels),
        textfont={"color": INK, "size": 11},
        marker={
            "color": [BEST if r.method == best else MEASURED for r, _, _ in shown],
            "size": [13 if r.method == best else 9 for r, _, _ in shown],
            "symbol": ["diamond" if METHODS[r.method].runtime == "onnxruntime" else "circle" for r, _, _ in shown],
        },
        error_x=interval_bars(
            times, [t.p50_low_s * 1e3 for _, _, t in shown], [t.p50_high_s * 1e3 for _, _, t in shown]
        ),
        error_y=interval_bars(
            heights, [max(kl.low, KL_FLOOR) for _, kl, _ in shown], [max(kl.high, KL_FLOOR) for _, kl, _ in shown]
        ),
        customdata=[
            f"KL {three_digits(kl.value)} nat/token<br>p50 {three_digits(t.p50_s * 1e3)} ms, p99 {three_digits(t.p99_s * 1e3)} ms"
            for _, kl, t in shown
        ],
        hovertemplate="%{text}<br>%{customdata}<extra></extra>",
    )
    if times:
        fig.update_xaxes(
            type="log", range=_log_range(min(times), max(times) * 1.15), dtick=None, nticks=6, minor={"showgrid": False}
        )
    fig.update_yaxes(type="log", exponentformat="power", dtick=1)
    return fig


def _label_places(times: list[float], heights: list[float], labels: list[str]) -> list[str]:
    """Return places of labels, each where it covers least of the other labels and points and is not cut off."""
    if not times:
        return []
    (left, right), (low, high) = _log_range(min(times), max(times) * 1.15), _log_range(min(heights), max(heights))
    at = [
        (PLOT_PX[0] * (log10(t) - left) / (right - left), PLOT_PX[1] * (log10(h) - low) / (high - low))
        for t, h in zip(times, heights, strict=True)
    ]
    taken = 3 * [_box(x - 6, y - 6, 12, 12) for x, y in at]  # a covered point is worse than a covered label
    places = []
    for (x, y), label in zip(at, labels, strict=True):
        width = LETTER_PX * len(label)
        boxes = {
            f"{up} {side}": _box(x + to_x * (8 + width / 2) - width / 2, y + to_y - 7, width, 14)
            for up, to_y in (("top", 13), ("bottom", -13), ("middle", 0))
            for side, to_x in (("right", 1), ("left", -1))
        }
        place = min(boxes, key=lambda name: sum(_common(boxes[name], other) for other in taken) + _outside(boxes[name]))
        taken.append(boxes[place])
        places.append(place)
    return places


def _box(x: float, y: float, width: float, height: float) -> Box:
    return (x, y, x + width, y + height)


def _common(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box) -> float:
    inside = _common(box, (0.0, 0.0, *PLOT_PX))
    return 2 * ((box[2] - box[0]) * (box[3] - box[1]) - inside)


def _log_range(low: float, high: float) -> list[float]:
    margin = 0.08 * (log10(high) - log10(low)) + 0.05
    return [log10(low) - margin, log10(high) + margin]


def claimed_and_measured(
    points: Sequence[tuple[str, float, float, float]], claims: Sequence[Claim], *, baseline: str, batch: int
) -> go.Figure:
    """Return published speed-up ranges as bands, with measured speed-ups as points on them.

    Args:
        points: (technique as the claim names it, speed-up, low, high) of each measured method.
        claims: The claims with the metric "speedup".
        baseline: What the measured speed-ups are relative to.
        batch: Batch size of the measurements.
    """
    fig = figure(
        gettext("Claimed and measured speed-up"),
        subtitle=gettext("▬ published (FAQ table) · ● measured here"),
        x_title=gettext("speed-up over {baseline}, × (decoding, batch {batch})").format(baseline=baseline, batch=batch),
        y_title=gettext("technique (ranges in ×)"),
    )
    names = [c.technique for c in claims]
    ends = [(c, end) for c in claims for end in (c.low, c.high, None)]
    fig.add_scatter(
        x=[end for _, end in ends],
        y=[None if end is None else c.technique for c, end in ends],
        mode="lines",
        name=gettext("published"),
        line={"color": PUBLISHED, "width": 9},
        opacity=0.75,
        hovertemplate=gettext("%{y}: %{x}×, published<extra></extra>"),
    )
    fig.add_scatter(
        x=[c.high for c in claims],
        y=[c.technique for c in claims],
        mode="text",
        name="range",
        text=[f"  {c.shown_range}" for c in claims],
        textposition="middle right",
        hoverinfo="skip",
    )
    known = [p for p in points if p[0] in names]
    best = {name: max((p[1] for p in known if p[0] == name), default=None) for name in names}
    fig.add_scatter(
        x=[value for _, value, _, _ in known],
        y=[technique for technique, *_ in known],
        mode="markers+text",
        name=gettext("measured"),
        text=[f"{value:.2f}×" if value == best[technique] else "" for technique, value, _, _ in known],
        textposition="top center",
        marker={"color": MEASURED, "size": 10, "opacity": [1 if p[1] == best[p[0]] else 0.45 for p in known]},
        error_x=interval_bars([p[1] for p in known], [p[2] for p in known], [p[3] for p in known]),
        hovertemplate=gettext("%{y}: %{x:.2f}×, measured<extra></extra>"),
    )
    top = max([c.high or 0 for c in claims] + [p[1] for p in points] + [1])
    fig.update_xaxes(range=[0, top * 1.2])
    shown = {"range": [-0.5, len(names) - 0.3]}  # room for the value above the first
    fig.update_yaxes(categoryorder="array", categoryarray=names[::-1], title=None, ticksuffix="  ", **shown)
    fig.add_vline(x=1, line={"color": INK, "width": 1, "dash": "dot"})
    return fig
