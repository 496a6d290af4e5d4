"""Plots above each other over one axis of time, with the names of their lines next to them."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

GAP = 0.05


class Lanes:
    """Places for lanes in a figure.

    Args:
        fig: Gets the lines; its y axis sets the style.
        units: Of the lanes, from the top down.
    """

    def __init__(self, fig: go.Figure, units: Sequence[str]) -> None:
        n = max(1, len(units))
        self.fig, self.height = fig, (1 - GAP * (n - 1)) / n
        style = fig.layout.yaxis.to_plotly_json()
        self.layout: dict[str, Any] = {"annotations": [], "xaxis": {"anchor": self._axis(n - 1)}}
        for i, unit in enumerate(units):
            self.layout["yaxis" if i == 0 else f"yaxis{i + 1}"] = style | {
                "domain": [max(0.0, self._top(i) - self.height), self._top(i)],
                "title": {"text": unit, "font": {"size": 11}},
                "rangemode": "tozero",
                "anchor": "x",
                "tickfont": {"size": 10},
            }

    @staticmethod
    def _axis(lane: int) -> str:
        return "y" if lane == 0 else f"y{lane + 1}"

    def _top(self, lane: int) -> float:
        return 1 - lane * (self.height + GAP)

    def add_line(
        self, lane: int, line: int, label: str, colour: str, *, of: int, x: Any, y: Any, x_text: str = "%{x}"
    ) -> None:
        """Draw a line in a lane and write its name next to it, in its colour, from the top down; ``of`` is the number of lines."""
        hover, look = f"{x_text}: {label} %{{y:.4g}}<extra></extra>", {"color": colour, "width": 1.4}
        self.fig.add_scatter(x=x, y=y, yaxis=self._axis(lane), mode="lines", name=label, line=look, hovertemplate=hover)
        place: dict[str, Any] = {"x": 1.01, "y": self._top(lane) - line * min(0.045, self.height / of)}
        place |= {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top"}
        text = {"text": label, "showarrow": False, "font": {"size": 10, "color": colour}}
        self.layout["annotations"].append(place | text)

    def add_band(
        self, lane: int, colour: str, *, x: Sequence[Any], low: Sequence[float], high: Sequence[float]
    ) -> None:
        """Fill a lane between two lines."""
        look = {"mode": "lines", "fill": "toself", "line": {"width": 0, "color": colour}, "opacity": 0.2}
        there, back = [*x, *x[::-1]], [*high, *low[::-1]]
        self.fig.add_scatter(x=there, y=back, yaxis=self._axis(lane), hoverinfo="skip", **look)
