"""Figures of replicas in reserve: the time to the first token out of each state, and the memory held while waiting."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.core.units import GIB, shown_duration
from workbench.interface.theme import CAUTION, MEASURED, add_bars, figure, interval_bars
from workbench.questions.surge.standby.findings import NAMES
from workbench.questions.surge.standby.rows import StandbyState, State

LABEL_ROOM = 0.5  # powers of ten beyond the last tick, so that the label of the longest time is whole


def first_tokens(states: Mapping[State, StandbyState]) -> go.Figure:
    """Return the time to the first token out of each state, with the least and the most of the repeats, on a log axis."""
    fig = figure(
        gettext("From the decision to the first token"),
        subtitle=gettext("lower is better · ● measured: median, minimum and maximum · log axis"),
        x_title=gettext("time, s"),
        y_title="",
        height=300,
    )
    values, least, most = (
        [getattr(r, name) or 0.0 for r in states.values()] for name in ("first_token_s", "least_s", "most_s")
    )
    fig.add_scatter(
        x=values,
        y=[NAMES[s] for s in states],
        error_x=interval_bars(values, least, most),
        mode="markers+text",
        marker={"color": MEASURED, "size": 10},
        text=[shown_duration(v) for v in values],
        textposition="top center",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.3g} s<extra></extra>",
    )
    powers = range(floor(log10(min(least))), ceil(log10(max(most))) + 1)
    ticks = [10.0**p for p in powers]
    fig.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks], range=[powers[0], powers[-1] + LABEL_ROOM]
    )
    return fig.update_yaxes(autorange="reversed")


def memory_held(rows: Sequence[StandbyState]) -> go.Figure:
    """Return the memory that a replica holds while it waits, of the devices and of the host."""
    fig = figure(
        gettext("Memory held while waiting"),
        subtitle=gettext("lower is better · ● measured"),
        x_title=gettext("memory, GiB"),
        y_title="",
        has_legend=True,
        height=300,
    )
    labels = [NAMES[r.state] for r in rows]
    kinds = (
        (gettext("device"), MEASURED, [r.device_bytes for r in rows]),
        (gettext("host"), CAUTION, [r.host_bytes for r in rows]),
    )
    for name, colour, held in kinds:
        if any(h is not None for h in held):
            lengths = [None if h is None else h / GIB for h in held]
            add_bars(fig, labels, lengths, colour, name=name, hover="%{y}: %{x:.3g} GiB<extra>%{fullData.name}</extra>")
    fig.update_layout(barmode="group", bargap=0.25)
    return fig.update_yaxes(autorange="reversed")
