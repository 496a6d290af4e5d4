"""Figures of offload: reuse over cache size, and saved time over bandwidth."""

import numpy as np
import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, INK, MEASURED, figure
from workbench.questions.tuning.offload.findings import OffloadAnswer


def reuse_by_size(answer: OffloadAnswer) -> go.Figure:
    """Return the share of the prompt tokens that caches have, over their size, with the device's own size marked."""
    fig = figure(
        gettext("Reuse over cache size"),
        subtitle=gettext("higher is better · △ exact LRU on the trace · dashed: cache of the device"),
        x_title=gettext("cache, tokens"),
        y_title=gettext("prompt tokens that are known, %"),
    )
    fig.add_scatter(
        x=[p.cache_tokens for p in answer.points],
        y=[100 * p.hit_fraction for p in answer.points],
        mode="lines+markers",
        line={"color": MEASURED},
        hovertemplate=gettext("%{x:,} tokens: %{y:.3g} %") + "<extra></extra>",
    )
    fig.add_vline(x=answer.device_cache_tokens, line={"color": INK, "dash": "dash", "width": 1.5})
    return fig.update_xaxes(type="log").update_yaxes(rangemode="tozero")


def saved_by_bandwidth(answer: OffloadAnswer) -> go.Figure:
    """Return the prefill time that a request saves over the bandwidth of the link."""
    fig = figure(
        gettext("Saved prefill time over bandwidth"),
        subtitle=gettext("higher is better, below zero loading is slower · ◌ estimated"),
        x_title=gettext("host bandwidth, GB/s"),
        y_title=gettext("saved by a request, ms"),
    )
    rates = np.geomspace(answer.bandwidth_bytes_per_s / 16, answer.bandwidth_bytes_per_s * 4, 40)
    fig.add_scatter(
        x=(rates / 1e9).tolist(),
        y=[1e3 * answer.saved_at(float(r)) for r in rates],
        mode="lines",
        line={"color": MEASURED},
        hovertemplate="%{x:.3g} GB/s: %{y:.3g} ms<extra></extra>",
    )
    fig.add_scatter(
        x=[answer.bandwidth_bytes_per_s / 1e9],
        y=[1e3 * answer.saved_s.value],
        mode="markers",
        marker={"color": BEST, "size": 11, "symbol": "diamond"},
        hovertemplate=gettext("this link: %{y:.3g} ms") + "<extra></extra>",
    )
    fig.add_hline(y=0, line={"color": INK, "width": 1.5, "dash": "dash"})
    return fig.update_xaxes(type="log")
