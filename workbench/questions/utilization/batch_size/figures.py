"""Figures of a search for the best batch."""

from collections.abc import Sequence
from statistics import median_high

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.core.units import GIB
from workbench.interface.theme import BEST, CAUTION, FAILURE, INK, MEASURED, figure, set_second_part
from workbench.questions.utilization.batch_size.rows import STATUSES, BatchTrial, by_batch

STYLES = {"fits": (MEASURED, "circle"), "latency": (CAUTION, "x"), "memory": (FAILURE, "x")}
HEIGHT_PX = 530


def throughput_and_step(
    trials: Sequence[BatchTrial], *, best: int | None, latency_ms: float | None, unit: str
) -> go.Figure:
    """Return the throughput above and the step time below, by batch size; trials above a limit are marked. ``unit``: what a step finishes."""
    fig = figure(
        gettext("Throughput and step time by batch size"),
        subtitle=gettext("● measured · higher is better above, lower below"),
        x_title=gettext("batch size, sequences"),
        y_title=gettext("throughput, {unit}/s").format(unit=unit),
        has_legend=True,
        height=HEIGHT_PX,
    )
    for status, (colour, symbol) in STYLES.items():
        points = [(t.batch, t.times) for t in trials if t.times and t.status == status]
        x, label = [batch for batch, _ in points], STATUSES[status]
        throughput, p90_ms = [times.sequences_per_s for _, times in points], [times.p90_s * 1e3 for _, times in points]
        for y, axis, of in ((throughput, "y", f"{unit}/s"), (p90_ms, "y2", "ms")):
            marker = {"color": colour, "symbol": symbol, "size": 9}
            hover = gettext("batch %{{x}}, {label}: %{{y:.3g}} {unit}<extra></extra>").format(label=label, unit=of)
            look = {"mode": "markers", "marker": marker, "showlegend": axis == "y" and bool(points)}
            fig.add_scatter(x=x, y=y, yaxis=axis, name=label, hovertemplate=hover, **look)
    at_best = [t.times.sequences_per_s for t in trials if t.times and t.batch == best]
    if at_best:
        fig.add_scatter(
            x=[best],
            y=[median_high(at_best)],
            mode="markers+text",
            name=gettext("best"),
            text=[f"{best}  "],
            textposition="middle left",
            cliponaxis=False,
            marker={"color": BEST, "symbol": "diamond", "size": 14},
            hovertemplate=gettext("best: batch %{{x}}, %{{y:.3g}} {unit}/s<extra></extra>").format(unit=unit),
        )
    fig.update_yaxes(rangemode="tozero")
    set_second_part(fig, gettext("step time p90, ms"))
    fig.update_xaxes(type="log", tickvals=[b for b in by_batch(trials) if b & (b - 1) == 0])
    if latency_ms is not None:
        ends = {"xref": "paper", "yref": "y2", "x0": 0, "x1": 1, "y0": latency_ms, "y1": latency_ms}
        fig.add_shape(type="line", line={"color": CAUTION, "width": 1.5, "dash": "dot"}, **ends)
    return fig


def memory_by_batch(trials: Sequence[BatchTrial], *, limit_bytes: float) -> go.Figure:
    """Return the measured memory peaks, and the predicted ones where smaller batches allowed a prediction."""
    fig = figure(
        gettext("Peak memory, predicted and measured"),
        subtitle=gettext("● measured · ◌ predicted from smaller batches"),
        x_title=gettext("batch size, sequences"),
        y_title=gettext("peak memory, GiB"),
        has_legend=True,
        height=HEIGHT_PX,
    )
    predicted = {t.batch: t.predicted_bytes for t in trials if t.predicted_bytes}
    for name, points, marker in (
        (gettext("predicted"), list(predicted.items()), {"color": INK, "symbol": "circle-open", "size": 11}),
        (gettext("measured"), [(t.batch, t.peak_bytes) for t in trials], {"color": MEASURED, "size": 7}),
    ):
        x, y = [batch for batch, _ in points], [n_bytes / GIB for _, n_bytes in points]
        hover = gettext("batch %{{x}}: {name} %{{y:.3g}} GiB<extra></extra>").format(name=name)
        fig.add_scatter(x=x, y=y, mode="markers", name=name, marker=marker, hovertemplate=hover)
    highest = max([t.peak_bytes for t in trials] + list(predicted.values()), default=0.0)
    if limit_bytes < 2 * highest:
        fig.add_hline(y=limit_bytes / GIB, line={"color": FAILURE, "width": 1.5, "dash": "dot"})
    return fig.update_yaxes(rangemode="tozero")
