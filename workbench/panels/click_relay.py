"""Tells the kernel which point of a plot was clicked.

A plot in a notebook is a mime bundle, so that a reload brings it back with its data; its clicks stay in the browser.
This widget without a face waits for the plot inside a box of a given class and hands its clicks on.
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
    const timer = setInterval(look, 200);
    return () => clearInterval(timer);
  },
};
"""


class ClickRelay(anywidget.AnyWidget):
    """``point`` changes with every click: ``trace``, ``x``, ``y`` and a running ``count``."""

    _esm = WATCH
    box_class = traitlets.Unicode().tag(sync=True)
    point = traitlets.Dict().tag(sync=True)
