"""Plots above each other over one axis of time, with the names of their lines beside them."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

GAP = 0.05


class Lanes:
    """Places for so many lanes in a figure.

    Args:
        fig: Whose y axis sets the style.
        units: Of the lanes, from the top down.
    """

    def __init__(self, fig: go.Figure, units: Sequence[str]) -> None:
        n = max(1, len(units))
        self.height = (1 - GAP * (n - 1)) / n
        style = fig.layout.yaxis.to_plotly_json()
        self.layout: dict[str, Any] = {"annotations": []}
        for i, unit in enumerate(units):
            self.layout["yaxis" if i == 0 else f"yaxis{i + 1}"] = style | {
                "domain": [max(0.0, self.top(i) - self.height), self.top(i)],
                "title": {"text": unit, "font": {"size": 11}},
                "rangemode": "tozero",
                "anchor": "x",
                "tickfont": {"size": 10},
            }
        self.layout["xaxis"] = {"anchor": self.axis(n - 1)}

    @staticmethod
    def axis(lane: int) -> str:
        """Name of a lane's y axis for a trace."""
        return "y" if lane == 0 else f"y{lane + 1}"

    def top(self, lane: int) -> float:
        """Upper end of a lane, as a share of the figure."""
        return 1 - lane * (self.height + GAP)

    def name(self, lane: int, line: int, text: str, colour: str, *, of: int) -> None:
        """Write the name of a line beside its lane, in its colour, from the top down; ``of`` lines there are."""
        self.layout["annotations"].append(
            {
                "xref": "paper",
                "yref": "paper",
                "x": 1.01,
                "y": self.top(lane) - line * min(0.045, self.height / of),
                "xanchor": "left",
                "yanchor": "top",
                "text": text,
                "showarrow": False,
                "font": {"size": 10, "color": colour},
            }
        )
