"""Figures of what techniques gain, and of where a step's time goes."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext, gettext_noop
from workbench.core.provenance import Provenance
from workbench.core.stored_texts import in_readers_words
from workbench.interface.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, add_bars, figure, interval_bars
from workbench.questions.utilization.techniques.rows import Gain, StepProfile, TimeGain
from workbench.questions.utilization.techniques.spec import STEPS

OUTSIDE = gettext_noop("outside of operators")


def gains(rows: Sequence[Gain], claimed: Mapping[str, tuple[float, float]]) -> go.Figure:
    """Return the gain of each technique with its interval, and the claimed range (factors by technique) as a bar behind it."""
    fig = figure(
        gettext("Measured gain of each technique"),
        subtitle=gettext("● measured, 95 % interval · ◌ open: estimated<br>▬ bar: claimed range"),
        x_title=gettext("gain, × (1: none)"),
        y_title="",
    )
    for row in rows:
        if row.technique in claimed:
            low, high = claimed[row.technique]
            hover, look = (
                gettext("claimed {low} to {high}<extra></extra>").format(low=f"{low:g}", high=f"{high:g}"),
                {"width": 0.5, "opacity": 0.35},
            )
            width = max(high - low, 0.03)  # a claim of one number is seen too
            add_bars(
                fig, [gettext(row.label)], [width], PUBLISHED, name=gettext("claimed"), hover=hover, base=[low], **look
            )
    values = [r.gain for r in rows]
    lows, highs = zip(*(r.gain_interval if isinstance(r, TimeGain) else (r.gain, r.gain) for r in rows), strict=True)
    symbols = ["circle" if r.provenance is Provenance.MEASURED else "circle-open" for r in rows]
    fig.add_scatter(
        y=[gettext(r.label) for r in rows],
        x=values,
        mode="markers",
        marker={"color": MEASURED, "size": 11, "symbol": symbols},
        error_x=interval_bars(values, lows, highs),
        hovertemplate="%{y}: %{x:.2f}×<extra></extra>",
    )
    fig.add_vline(x=1.0, line={"color": INK, "dash": "dot"})
    ticks = {"¼": 0.25, "½": 0.5} | {str(n): n for n in (1, 2, 4, 8, 16, 32)}
    fig.update_xaxes(type="log", tickvals=list(ticks.values()), ticktext=list(ticks))
    return fig.update_yaxes(autorange="reversed")


def time_by_category(profiles: Mapping[str, StepProfile]) -> go.Figure:
    """Return shares of a step's wall time by kind of operator, and the gaps between them; profiles by the name of a step."""
    fig = figure(
        gettext("Step time by kind of operator"),
        subtitle=gettext("● measured with torch.profiler, as a share of the wall time without it"),
        x_title=gettext("share of the step, %"),
        y_title="",
        has_legend=True,
    )
    kinds = list(next(iter(profiles.values())).by_category_s) if profiles else []
    names = [in_readers_words(name, STEPS) for name in profiles]
    colours = (BEST, MEASURED, CAUTION, PUBLISHED, FAILURE)
    for kind, colour in zip([*kinds, OUTSIDE], colours, strict=False):
        shares = [_shares(p).get(kind) for p in profiles.values()]
        add_bars(
            fig, names, shares, colour, name=gettext(kind), hover=f"%{{y}}: %{{x:.0f}} %<extra>{gettext(kind)}</extra>"
        )
    return fig.update_layout(barmode="stack").update_yaxes(autorange="reversed")


def _shares(profile: StepProfile) -> dict[str, float]:
    """Return percent of a step by kind; the profiler slows operators down, so they are scaled to the wall time without it."""
    longest = max(profile.wall_s, profile.busy_s)
    gap = {OUTSIDE: 100 * (1 - profile.busy_s / longest)}
    return {kind: 100 * own / longest for kind, own in profile.by_category_s.items()} | gap
