"""The figure of the memory of adapters: the cache that their slots leave."""

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import INK, MEASURED, add_bars, figure
from workbench.questions.tuning.adapter_memory.findings import AdapterMemoryAnswer


def cache_by_rank(answer: AdapterMemoryAnswer) -> go.Figure:
    """Return the tokens of the KV cache that the slots leave, by rank."""
    fig = figure(
        gettext("KV cache beside the slots"),
        subtitle=gettext("higher is better · ◌ estimated · dashed: without adapters"),
        x_title=gettext("KV cache, tokens"),
        y_title=gettext("rank"),
    )
    ranks = [str(r.rank) for r in answer.ranks]
    add_bars(
        fig,
        ranks,
        [r.cache_tokens for r in answer.ranks],
        MEASURED,
        name=gettext("KV cache"),
        hover="%{x:,}<extra></extra>",
    )
    fig.add_vline(x=answer.cache_tokens, line={"color": INK, "dash": "dash", "width": 1.5})
    return fig.update_yaxes(type="category", categoryorder="array", categoryarray=ranks[::-1])
