"""Figures of adapters: throughput and TTFT over the number of adapters."""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.core.statistics import Interval
from workbench.interface.theme import INK, STYLES, figure, interval_bars
from workbench.questions.tuning.adapters.findings import server_name
from workbench.questions.tuning.adapters.rows import AdapterLoad


def throughput_by_count(rows: Sequence[AdapterLoad]) -> go.Figure:
    """Return throughput over that of the base model by number of adapters, one line for each server and skew."""
    return _by_count(
        rows,
        lambda r: r.throughput_ratio,
        title=gettext("Throughput by adapters in use"),
        subtitle=gettext("higher is better · ● measured, 95 % · dashed: base model"),
        y_title=gettext("output tokens/s over the base model's"),
    )


def ttft_by_count(rows: Sequence[AdapterLoad]) -> go.Figure:
    """Return TTFT over that of the base model by number of adapters, one line for each server and skew."""
    return _by_count(
        rows,
        lambda r: r.ttft_ratio,
        title=gettext("TTFT by adapters in use"),
        subtitle=gettext("lower is better · ● measured, 95 % · dashed: base model"),
        y_title=gettext("median TTFT over the base model's"),
    )


def _by_count(
    rows: Sequence[AdapterLoad],
    value: Callable[[AdapterLoad], Interval | None],
    *,
    title: str,
    subtitle: str,
    y_title: str,
) -> go.Figure:
    fig = figure(title, subtitle=subtitle, x_title=gettext("adapters in use"), y_title=y_title, has_legend=True)
    lines: dict[tuple[str, float], list[tuple[int, Interval]]] = {}
    skews = sorted({r.skew for r in rows if r.n_adapters > 1}) or [0.0]
    for r in rows:
        ratio = value(r)
        for skew in skews if r.n_adapters == 1 else [r.skew]:  # a single adapter has no skew and begins every line
            if ratio is not None:
                lines.setdefault((server_name(r), skew), []).append((r.n_adapters, ratio))
    for (colour, symbol), ((server, skew), points) in zip(STYLES[1:], lines.items(), strict=False):
        ordered = sorted(points, key=lambda p: p[0])
        use = gettext("Zipf {skew}").format(skew=f"{skew:g}") if skew else gettext("even use")
        values = [i for _, i in ordered]
        fig.add_scatter(
            x=[n for n, _ in ordered],
            y=[i.value for i in values],
            error_y=interval_bars(
                [i.value for i in values], [i.low for i in values], [i.high for i in values], colour=colour
            ),
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"color": colour, "symbol": symbol, "size": 9},
            name=f"{server}, {use}",
            hovertemplate="%{x}: %{y:.3g}<extra></extra>",
        )
    fig.add_hline(y=1, line={"color": INK, "width": 1.5, "dash": "dash"})
    ticks = sorted({r.n_adapters for r in rows})
    return fig.update_xaxes(type="log", tickvals=ticks, ticktext=[str(n) for n in ticks])
