"""Colours, axes and settings that all figures share; readable on white and on JupyterLab Dark."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go
from plotly.utils import PlotlyJSONEncoder
from rich.cells import cell_len

from workbench.interface.style import own_fonts

MEASURED, BEST, CAUTION, FAILURE, PUBLISHED = "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
INK, GRID = "#7a7a7a", "rgba(128,128,128,0.25)"  # 4.3:1 on white and on #111
HEIGHT_PX = 380
TITLE_CELLS, SUBTITLE_CELLS, AXIS_CELLS, LINE_PX = 42, 54, 34, 16
"""Widths of lines that are not cut where two plots stand beside each other, and what another line takes."""
BREAK = " <br>"
LOG_TICKS = [m * 10.0**e for e in range(-6, 8) for m in (1, 2, 5)]
"""Of logarithmic axes over few decades, where plotly's own differ in size or overlap."""
LEGEND = {
    "orientation": "h",
    "yref": "container",
    "y": 0.01,
    "yanchor": "bottom",
    "x": 0,
    "xanchor": "left",
    "font": {"size": 11},
}
"""Below the plot; placed by the container, as a place in heights of the plot is wrong after the plot was narrower."""
WORDS = re.compile(r"[\u2e80-\uffef][，。；：、）]*\s*|[^\s\u2e80-\uffef]+\s*|\s+")
# plotly 7 shows a button that uploads the chart to a cloud service unless it is switched off.
CONFIG: dict[str, object] = {
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "displaylogo": False,
    "responsive": True,
    "toImageButtonOptions": {"scale": 2},
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}
STYLES = (
    (INK, "circle"),
    (MEASURED, "square"),
    ("#56B4E9", "diamond"),
    (FAILURE, "triangle-up"),
    (CAUTION, "triangle-down"),
    (BEST, "star"),
    (PUBLISHED, "cross"),
    ("#8c6d31", "x"),
)
"""Colour and symbol by place in the run: plain first, eight bits blue, four bits warm, mixed green."""


def wrapped(text: str, cells: int) -> list[str]:
    """Return the lines of a text, none wider than so many cells where its words allow; a Chinese character takes two and breaks anywhere."""
    lines: list[str] = []
    for paragraph in filter(None, text.split("<br>")):
        line = ""
        for word in WORDS.findall(paragraph):
            if line and cell_len(line + word.rstrip()) > cells:
                lines.append(line.rstrip())
                line = ""
            line += word
        lines.append(line.rstrip())
    return lines


def figure(
    title: str,
    *,
    x_title: str,
    y_title: str,
    subtitle: str = "",
    has_legend: bool = False,
    height: int = HEIGHT_PX,
) -> go.Figure:
    """An empty figure in the common style. Axis titles name the unit.

    Args:
        title: What is to be seen.
        x_title: With the unit.
        y_title: Likewise.
        subtitle: How to read it.
        has_legend: Whether a legend stands below the plot.
        height: In pixels.
    """
    titles, subtitles = wrapped(title, TITLE_CELLS), wrapped(subtitle, SUBTITLE_CELLS)
    more_px = LINE_PX * max(0, len(titles) + len(subtitles) - 2)
    small = f"<br><span style='font-size:12px'>{BREAK.join(subtitles)}</span>" if subtitles else ""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True}
    small_font = {"size": 12}
    return go.Figure(
        layout={
            "template": None,
            "height": height + more_px,
            "autosize": True,
            "showlegend": has_legend,
            "legend": LEGEND,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {
                "color": INK,
                "size": 13,
                **({"family": f"Open Sans,{own_fonts()},sans-serif"} if own_fonts() else {}),
            },
            "margin": {"l": 60, "r": 20, "t": 64 + more_px, "b": 56},
            "title": {
                "text": f"<b>{BREAK.join(titles)}</b>{small}",
                "x": 0.01,
                "xanchor": "left",
                "y": 0.95,
                "yanchor": "top",
                "font": {"size": 15},
            },
            "xaxis": {"title": {"text": BREAK.join(wrapped(x_title, AXIS_CELLS)), "font": small_font}, **axis},
            "yaxis": {"title": {"text": BREAK.join(wrapped(y_title, AXIS_CELLS)), "font": small_font}, **axis},
            "hoverlabel": {"font": {"size": 13}},
        }
    )


def interval_bars(
    values: Sequence[float], lows: Sequence[float], highs: Sequence[float], *, colour: str = MEASURED
) -> dict[str, object]:
    """Error bars from intervals, for ``error_x`` or ``error_y``."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, high in zip(values, highs, strict=True)],
        "arrayminus": [value - low for value, low in zip(values, lows, strict=True)],
        "color": colour,
        "thickness": 1,
    }


def add_trace(fig: go.Figure, kind: str, **properties: object) -> None:
    """Add a trace of a kind; as a plain dictionary plotly checks it once, where ``add_scatter`` takes twice as long."""
    fig.add_trace({"type": kind, **properties})


def add_line(
    fig: go.Figure,
    x: Iterable[object],
    y: Iterable[object],
    colour: str,
    *,
    name: str,
    hover: str,
    line: Mapping[str, object] | None = None,
    **rest: object,
) -> None:
    """Add a line, with what plotly takes for a scatter: ``line`` adds to its colour, ``mode`` may add markers."""
    style = {"color": colour, **(line or {})}
    add_trace(
        fig, "scatter", x=list(x), y=list(y), name=name, line=style, hovertemplate=hover, **{"mode": "lines"} | rest
    )


def add_points(
    fig: go.Figure,
    x: Iterable[object],
    y: Iterable[object],
    style: tuple[str, str],
    *,
    name: str,
    hover: str,
    **rest: object,
) -> None:
    """Add a line with a marker at each point, in a colour and with a symbol of ``styles_of``; see ``add_line``."""
    marker = {"color": style[0], "symbol": style[1], "size": 8}
    look = {"mode": "lines+markers", "marker": marker, **rest}
    add_line(fig, x, y, style[0], name=name, hover=hover, line={"width": 1.5}, **look)


def add_bars(
    fig: go.Figure,
    labels: Iterable[str],
    lengths: Iterable[object],
    colour: str,
    *,
    name: str,
    hover: str,
    **rest: object,
) -> None:
    """Add bars from left to right, each beside its label, with what else plotly takes for them."""
    marker, y, x = {"color": colour}, list(labels), list(lengths)
    add_trace(fig, "bar", y=y, x=x, orientation="h", name=name, marker=marker, hovertemplate=hover, **rest)


def set_second_part(fig: go.Figure, title: str, **axis: object) -> None:
    """Make room below the plot for a second one with the same x axis, whose traces have ``yaxis="y2"``."""
    second = fig.layout.yaxis.to_plotly_json() | {"domain": [0.0, 0.4], "anchor": "x"}
    second |= {"title": {"text": title, "font": {"size": 12}}, **axis}
    fig.update_layout(yaxis={"domain": [0.46, 1.0]}, yaxis2=second, xaxis={"anchor": "y2"})


def mime_bundle(fig: go.Figure) -> dict[str, object]:
    """The figure as JupyterLab's own renderer takes it, with the cloud button off."""
    plain = json.loads(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder))
    plain["layout"].pop("template", None)
    return {"application/vnd.plotly.v1+json": {**plain, "config": CONFIG}}


def styles_of(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a symbol for each precision."""
    return dict(zip(names, itertools.cycle(STYLES), strict=False))
