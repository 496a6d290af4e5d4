"""Figures of what techniques gain, and of where a step's time goes."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.figures.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, figure, interval_bars


def gains(rows: Sequence[Mapping[str, Any]], claimed: Mapping[str, tuple[float, float]]) -> go.Figure:
    """Gain of each technique with its interval, and the claimed range as a bar behind it.

    Args:
        rows: With ``label``, ``technique``, ``gain`` and, where there is one, its interval.
        claimed: Lowest and highest claimed gain by technique, as a factor.
    """
    fig = figure(
        "What each technique gains here",
        subtitle="● measured, 95 % interval · ◌ open: estimated<br>▬ bar: claimed range",
        x_title="gain, times (1: none)",
        y_title="",
    )
    shown = [r for r in rows if r.get("gain") is not None]
    for row in shown:
        if row["technique"] in claimed:
            low, high = claimed[row["technique"]]
            fig.add_bar(
                y=[row["label"]],
                x=[max(high - low, 0.03)],
                base=[low],
                orientation="h",
                marker={"color": PUBLISHED, "opacity": 0.35},
                width=0.5,
                hovertemplate=f"claimed {low:g} to {high:g}<extra></extra>",
            )
    values = [r["gain"] for r in shown]
    fig.add_scatter(
        y=[r["label"] for r in shown],
        x=values,
        mode="markers",
        marker={
            "color": MEASURED,
            "size": 11,
            "symbol": ["circle" if r["provenance"] == "measured" else "circle-open" for r in shown],
        },
        error_x=interval_bars(
            values, [r.get("gain_low", r["gain"]) for r in shown], [r.get("gain_high", r["gain"]) for r in shown]
        ),
        hovertemplate="%{y}: %{x:.2f}×<extra></extra>",
    )
    fig.add_vline(x=1.0, line={"color": INK, "dash": "dot"})
    fig.update_xaxes(
        type="log", tickvals=[0.25, 0.5, 1, 2, 4, 8, 16, 32], ticktext=["¼", "½", "1", "2", "4", "8", "16", "32"]
    )
    fig.update_yaxes(autorange="reversed")
    return fig


def time_by_category(profiles: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Shares of a step's wall time by kind of operator, and the gaps between them.

    Args:
        profiles: By the name of a step.
    """
    fig = figure(
        "Where a step's time goes",
        subtitle="● measured with torch.profiler, of the wall time without it",
        x_title="share of the step, %",
        y_title="",
    )
    names = list(profiles)
    kinds = list(next(iter(profiles.values()))["by_category_s"]) if profiles else []
    for kind, colour in zip(
        [*kinds, "outside of operators"], (BEST, MEASURED, CAUTION, PUBLISHED, FAILURE), strict=False
    ):
        shares = []
        for p in profiles.values():
            busy = max(p["busy_s"], 1e-12)
            # Under the profiler operators take longer; shares are scaled to the wall time without it when they exceed it.
            scale = min(1.0, p["wall_s"] / busy)
            own = p["by_category_s"].get(kind)
            shares.append(
                100 * (max(0.0, 1 - busy * scale / p["wall_s"]) if own is None else own * scale / p["wall_s"])
            )
        fig.add_bar(
            y=names,
            x=shares,
            orientation="h",
            name=kind,
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.0f} %<extra>" + kind + "</extra>",
        )
    fig.update_layout(barmode="stack", showlegend=True, legend={"orientation": "h", "y": -0.3, "font": {"size": 11}})
    fig.update_yaxes(autorange="reversed")
    return fig
