"""Figures of what a GPU did with its time."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.core.samples import Recording
from workbench.figures.lanes import Lanes
from workbench.figures.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, figure

PARTS = 600  # of a signal that are drawn
LANES: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "%, of the time",
        (
            ("utilisation_percent", "a kernel running", INK),
            ("sm_active_percent", "multiprocessors", MEASURED),
            ("tensor_active_percent", "tensor cores", BEST),
            ("dram_active_percent", "memory bandwidth", CAUTION),
        ),
    ),
    ("W", (("power_w", "power", FAILURE), ("power_limit_w", "its limit", PUBLISHED))),
    ("MHz", (("sm_clock_mhz", "clock", MEASURED),)),
)
ENGINE_LANE = (
    ("engine.num_requests_running", "running", MEASURED),
    ("engine.num_requests_waiting", "waiting", FAILURE),
)
HOST_LANE = (
    ("host.busiest_core_percent", "busiest core", CAUTION),
    ("host.cpu_percent", "all cores", MEASURED),
)


def where_time_goes(losses: Sequence[Mapping[str, Any]], *, achieved_fraction: float, achieved: str) -> go.Figure:
    """A waterfall from all the time down to what was achieved.

    Args:
        losses: With ``cause``, ``fraction`` and ``evidence``, in the order of subtraction.
        achieved_fraction: What remains.
        achieved: What that is.
    """
    fig = figure(
        "Where its time goes",
        subtitle="● measured · lost shares, and what remains",
        x_title="% of the time at the highest clock",
        y_title="",
    )
    level = 1.0
    names, bases, widths, texts, hover, colours = [], [], [], [], [], []
    for loss in losses:
        names.append(loss["cause"])
        bases.append(100 * (level - loss["fraction"]))
        widths.append(100 * loss["fraction"])
        texts.append(f"−{100 * loss['fraction']:.1f} %")
        hover.append(loss["evidence"])
        colours.append(CAUTION)
        level -= loss["fraction"]
    names.append(achieved)
    bases.append(0.0)
    widths.append(100 * achieved_fraction)
    texts.append(f"{100 * achieved_fraction:.1f} %")
    hover.append("what remains")
    colours.append(BEST)
    fig.add_bar(
        y=names,
        x=widths,
        base=bases,
        orientation="h",
        marker={"color": colours},
        width=0.6,
        text=texts,
        textposition="outside",
        cliponaxis=False,
        customdata=hover,
        hovertemplate="%{y}: %{x:.1f} % of the time<br>%{customdata}<extra></extra>",
    )
    fig.update_xaxes(range=[0, 130], tickvals=[0, 20, 40, 60, 80, 100])
    fig.update_yaxes(autorange="reversed")
    fig.update_layout(height=530)
    return fig


def samples_over_time(
    made: Recording,
    *,
    gpu: str | None,
    origin_s: float,
    start_s: float,
    end_s: float,
    request: Mapping[str, Any] | None,
) -> go.Figure:
    """Signals of a GPU, its engine and the host in lanes above each other, with a request's lifetime laid over them.

    Args:
        made: Samples.
        gpu: Such as "gpu0"; None shows the host alone.
        origin_s: What the time axis counts from.
        start_s: Of the shown span, on the monotonic clock.
        end_s: Likewise.
        request: With ``due_s``, ``first_content_s`` and ``end_s`` from the origin on; None shows none.
    """
    shown = made.between(start_s, end_s)
    lanes: list[tuple[str, list[tuple[str, str, str]]]] = []
    if gpu is not None:
        lanes += [(unit, [(f"{gpu}.{q}", label, colour) for q, label, colour in signals]) for unit, signals in LANES]
    lanes.append(("requests", list(ENGINE_LANE)))
    lanes.append(("host, %", list(HOST_LANE)))
    lanes = [(unit, [s for s in signals if s[0] in shown]) for unit, signals in lanes]
    lanes = [lane for lane in lanes if lane[1]]
    fig = figure(
        "What it did, second by second",
        subtitle="● measured",
        x_title="seconds",
        y_title="",
    )
    places = Lanes(fig, [unit for unit, _ in lanes])
    for i, (_, signals) in enumerate(lanes):
        for k, (name, label, colour) in enumerate(signals):
            t, low, high = shown.thinned(name, PARTS)
            fig.add_scatter(
                x=t - origin_s,
                y=(low + high) / 2,
                yaxis=places.axis(i),
                mode="lines",
                name=label,
                line={"color": colour, "width": 1.4},
                hovertemplate=f"%{{x:.1f}} s: {label} %{{y:.4g}}<extra></extra>",
            )
            places.name(i, k, label, colour, of=len(signals))
    layout = places.layout
    if request is not None:
        layout["shapes"] = [
            _band(request["due_s"], request["first_content_s"], CAUTION),
            _band(request["first_content_s"], request["end_s"], BEST),
        ]
    fig.update_layout(**layout, height=530, margin={"r": 130})
    return fig


def _band(left: float, right: float, colour: str) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": left,
        "x1": right,
        "y0": 0,
        "y1": 1,
        "fillcolor": colour,
        "opacity": 0.25,
        "line": {"width": 0},
        "layer": "below",
    }
