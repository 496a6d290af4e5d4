"""Tells the kernel which point of a plot was clicked, and moves a marker of it without drawing it anew.

A plot in a notebook is a mime bundle, so that a reload brings it back with its data; its clicks stay in the browser, and
a new bundle takes tens of milliseconds to draw. This widget without a face waits for the plot inside a box of a given
class, hands its clicks on, and restyles one trace through the Plotly that JupyterLab has loaded.
"""

import anywidget
import traitlets

WATCH = """
export default {
  render({ model }) {
    const known = new WeakSet();
    const look = () => {
      for (const plot of document.querySelectorAll(`.${model.get("box_class")} .js-plotly-plot`)) {
        if (known.has(plot) || typeof plot.on !== "function") continue;
        known.add(plot);
        plot.on("plotly_click", (event) => {
          const point = event.points[0];
          model.set("point", { trace: point.data.name, x: point.x, y: point.y, count: (model.get("point").count || 0) + 1 });
          model.save_changes();
        });
      }
    };
    const move = () => {
      const { trace, x, y } = model.get("marker");
      for (const plot of document.querySelectorAll(`.${model.get("box_class")} .js-plotly-plot`)) {
        const index = (plot.data ?? []).findIndex((t) => t.name === trace);
        if (index >= 0) globalThis.Plotly?.restyle(plot, { x: [[x]], y: [[y]] }, [index]);
      }
    };
    model.on("change:marker", move);
    const timer = setInterval(look, 200);
    return () => {
      clearInterval(timer);
      model.off("change:marker", move);
    };
  },
};
"""


class ClickRelay(anywidget.AnyWidget):
    """``point`` changes with every click: ``trace``, ``x``, ``y`` and a running ``count``; ``marker`` moves one."""

    _esm = WATCH
    box_class = traitlets.Unicode().tag(sync=True)
    point = traitlets.Dict().tag(sync=True)
    marker = traitlets.Dict().tag(sync=True)
