"""The figure of an estimate: the speed-up over batch size."""

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, INK, MEASURED, figure
from workbench.questions.tuning.speculation_estimate.findings import SpeculationEstimate


def estimated_speedup(answer: SpeculationEstimate) -> go.Figure:
    """Return the speed-up with the draft tokens that were asked for, and with the best number of them."""
    fig = figure(
        gettext("Speed-up over batch size"),
        subtitle=gettext("higher is better · ◌ estimated for the given acceptance"),
        x_title=gettext("batch size, sequences"),
        y_title=gettext("output tokens/s with drafts over without"),
        has_legend=True,
    )
    batches = [p.batch for p in answer.points]
    for name, gains, colour in (
        (
            gettext("{n} draft tokens").format(n=answer.draft_tokens),
            [p.speed_up for p in answer.points],
            MEASURED,
        ),
        (gettext("best number of draft tokens"), [p.best_speed_up for p in answer.points], BEST),
    ):
        fig.add_scatter(x=batches, y=gains, mode="lines", name=name, line={"color": colour, "dash": "dot"})
    fig.add_hline(y=1, line={"color": INK, "width": 1.5, "dash": "dash"})
    return fig.update_xaxes(type="log", tickvals=batches, ticktext=[str(b) for b in batches])
