"""Colours, axes and settings that all figures share; readable on white and on JupyterLab Dark."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

MEASURED, BEST, CAUTION, FAILURE, PUBLISHED = "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
INK, GRID = "#7a7a7a", "rgba(128,128,128,0.25)"  # 4.3:1 on white and on #111
HEIGHT_PX = 380
# plotly 7 shows a button that uploads the chart to a cloud service unless it is switched off.
CONFIG: dict[str, Any] = {
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "displaylogo": False,
    "responsive": True,
    "toImageButtonOptions": {"scale": 2},
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}


def figure(title: str, *, x_title: str, y_title: str, subtitle: str = "") -> go.Figure:
    """An empty figure in the common style. Axis titles name the unit."""
    small = f"<br><span style='font-size:12px'>{subtitle}</span>" if subtitle else ""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True}
    small_font = {"size": 12}
    return go.Figure(
        layout={
            "template": None,
            "height": HEIGHT_PX,
            "autosize": True,
            "showlegend": False,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": INK, "size": 13},
            "margin": {"l": 60, "r": 20, "t": 64, "b": 56},
            "title": {"text": f"<b>{title}</b>{small}", "x": 0.01, "xanchor": "left", "font": {"size": 15}},
            "xaxis": {"title": {"text": x_title, "font": small_font}, **axis},
            "yaxis": {"title": {"text": y_title, "font": small_font}, **axis},
            "hoverlabel": {"font": {"size": 13}},
        }
    )


def interval_bars(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> dict[str, Any]:
    """Error bars from intervals, for ``error_x`` or ``error_y``."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, high in zip(values, highs, strict=True)],
        "arrayminus": [value - low for value, low in zip(values, lows, strict=True)],
        "color": MEASURED,
        "thickness": 1,
    }


def mime_bundle(fig: go.Figure) -> dict[str, Any]:
    """The figure as JupyterLab's own renderer takes it, with the cloud button off."""
    data = fig.to_plotly_json()
    import json

    from plotly.utils import PlotlyJSONEncoder

    plain = json.loads(json.dumps(data, cls=PlotlyJSONEncoder))
    plain["layout"].pop("template", None)
    return {"application/vnd.plotly.v1+json": {**plain, "config": CONFIG}}
