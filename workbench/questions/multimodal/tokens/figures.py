"""The figure of image tokens."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.core.language import gettext
from workbench.interface.theme import BEST, CAUTION, FAILURE, INK, MEASURED, PUBLISHED, add_line, figure


def tokens_by_size(sizes: Sequence[int], tokens: Mapping[str, Sequence[int]], *, shown: int | None = None) -> go.Figure:
    """Return the tokens of a square image by its side, a line for each model."""
    fig = figure(
        gettext("Tokens of an image"),
        subtitle=gettext("◌ estimated as the models' processors do"),
        x_title=gettext("side of a square image, pixels"),
        y_title=gettext("image tokens"),
        has_legend=True,
    )
    colours = (MEASURED, BEST, CAUTION, FAILURE, PUBLISHED, INK)
    for i, (name, values) in enumerate(tokens.items()):
        colour, line = colours[i % len(colours)], {"width": 3 if i == shown else 1.5}
        hover = gettext("%{{x}} px: %{{y}} tokens<extra>{name}</extra>").format(name=name)
        add_line(fig, sizes, values, colour, name=name, hover=hover, line=line)
    return fig
