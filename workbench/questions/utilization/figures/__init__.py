"""Figures of what a GPU did with its time."""

from itertools import accumulate

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, figure
from workbench.load.rows import KeptRequest
from workbench.questions.utilization.figures.lanes import Lanes
from workbench.questions.utilization.rows import GpuUse, ShownSpan
from workbench.telemetry.samples import Recording

PARTS = 600  # of a signal that are drawn
HEIGHT_PX = 530
Signals = tuple[tuple[str, str, str], ...]
"""Name, label and colour of each."""
UNITS: Signals = (
    ("utilisation_percent", gettext("a kernel running"), INK),
    ("sm_active_percent", gettext("multiprocessors"), MEASURED),
    ("tensor_active_percent", gettext("tensor cores"), BEST),
    ("dram_active_percent", gettext("memory bandwidth"), CAUTION),
)
POWER: Signals = (("power_w", gettext("power"), FAILURE), ("power_limit_w", gettext("its limit"), PUBLISHED))
REQUESTS: Signals = (
    ("engine.num_requests_running", gettext("running"), MEASURED),
    ("engine.num_requests_waiting", gettext("waiting"), FAILURE),
)
HOST: Signals = (
    ("host.busiest_core_percent", gettext("busiest core"), CAUTION),
    ("host.cpu_percent", gettext("all cores"), MEASURED),
)
GPU_LANES = ((gettext("%, of the time"), UNITS), ("W", POWER), ("MHz", (("sm_clock_mhz", gettext("clock"), MEASURED),)))
OTHER_LANES = ((gettext("requests"), REQUESTS), (gettext("host, %"), HOST))
"""Unit of each lane, and the signals in it."""


def where_time_goes(use: GpuUse) -> go.Figure:
    """Return a waterfall from all the time down to what was achieved."""
    fig = figure(
        gettext("Losses of GPU time"),
        subtitle=gettext("● measured · share of time of each loss, and what remains"),
        x_title=gettext("% of the time at the highest clock"),
        y_title="",
        height=HEIGHT_PX,
    )
    widths = [100 * loss.fraction for loss in use.losses]
    achieved = 100 * use.achieved_fraction
    fig.add_bar(
        y=[*(loss.cause for loss in use.losses), use.achieved],
        x=[*widths, achieved],
        base=[*(100 - left for left in accumulate(widths)), 0.0],
        orientation="h",
        marker={"color": [CAUTION] * len(widths) + [BEST]},
        width=0.6,
        text=[*(f"−{width:.1f} %" for width in widths), f"{achieved:.1f} %"],
        textposition="outside",
        cliponaxis=False,
        customdata=[*(loss.evidence for loss in use.losses), gettext("what remains")],
        hovertemplate=gettext("%{y}: %{x:.1f} % of the time<br>%{customdata}<extra></extra>"),
    )
    fig.update_xaxes(range=[0, 130], tickvals=[0, 20, 40, 60, 80, 100])
    return fig.update_yaxes(autorange="reversed")


def samples_over_time(
    recording: Recording, span: ShownSpan, *, gpu: str | None, request: KeptRequest | None
) -> go.Figure:
    """Return signals of a GPU, its engine and the host in lanes above each other, with a request's lifetime laid over them.

    Args:
        recording: Samples.
        span: Part of the samples that is drawn.
        gpu: Such as "gpu0"; None shows the host alone.
        request: Request whose times count from the origin; None shows none.
    """
    shown = recording.between(span.start_s, span.end_s)
    lanes = [(unit, [(f"{gpu}.{q}", label, colour) for q, label, colour in signals]) for unit, signals in GPU_LANES]
    lanes = [(unit, [s for s in signals if s[0] in shown]) for unit, signals in [*(lanes if gpu else []), *OTHER_LANES]]
    lanes = [lane for lane in lanes if lane[1]]
    fig = figure(gettext("Samples over time"), subtitle=gettext("● measured"), x_title=gettext("time, s"), y_title="")
    places = Lanes(fig, [unit for unit, _ in lanes])
    for i, (_, signals) in enumerate(lanes):
        for k, (name, label, colour) in enumerate(signals):
            t, low, high = shown.thinned(name, PARTS)
            x, y = t - span.origin_s, (low + high) / 2
            places.add_line(i, k, label, colour, of=len(signals), x=x, y=y, x_text="%{x:.1f} s")
    if request is not None:
        first = request.first_content_s
        for left, right, colour in ((request.due_s, first, CAUTION), (first, request.end_s, BEST)):
            band = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": left, "x1": right, "layer": "below"}
            fig.add_shape(band | {"fillcolor": colour, "opacity": 0.25, "line": {"width": 0}})
    return fig.update_layout(**places.layout, height=HEIGHT_PX, margin={"r": 130})
