"""What readers see in the language of this process, as JSON: every panel, the start page and a report.

Run as ``python -m support.spoken`` with ``WORKBENCH_LANG`` and ``WORKBENCH_HOME`` set: one process for all, since the language of a process does not change.
"""

import json
import os
import re
import sys
from html.parser import HTMLParser

import ipywidgets as widgets
import nbformat
from markupsafe import Markup

from support.every_panel import panel_classes
from workbench.app.claims_panel import QuestionClaims
from workbench.app.start import QuestionMap, doctor_table
from workbench.catalog.paths import NOTEBOOKS
from workbench.catalog.tables import questions
from workbench.core.errors import WorkbenchError
from workbench.interface.export_mode import EXPORT_MODE
from workbench.interface.question_panel import FRAME_TABS
from workbench.interface.report.page import page
from workbench.interface.translated_notebook import translate
from workbench.jobs.manager import JobManager
from workbench.load.spec import LoadSpec
from workbench.questions.cost.findings import price_load
from workbench.questions.cost.spec import CostSpec
from workbench.telemetry.doctor import Finding

WRONG = (
    ("long_context.panel.LongContextPanel", "model", "/nowhere"),
    ("surge.scaling.panel.ScalingPanel", "trace", "/nowhere"),
    ("engines.panel.EnginesPanel", "rates_per_s", "-3"),
    ("multimodal.tokens.panel.ImageCostPanel", "size", "0x0"),
    ("quantization.plan_damage.panel.CalibrationPanel", "plan", "/nowhere"),
    ("tuning.adapters.panel.AdaptersPanel", "counts", "0"),
    ("tuning.speculation_estimate.panel.SpeculationEstimatePanel", "model", "/"),
    ("rollout.odds.panel.OddsPanel", "alpha", -1),
)
"""Panels, a control, and a value that it cannot have: paths of nothing, numbers out of range."""
HIDDEN = {"script", "style", "pre", "code"}
VOID = {"br", "input", "meta", "img", "link", "hr"}


class Texts(HTMLParser):
    """The texts of a page, without code, scripts and styles."""

    def __init__(self):
        super().__init__()
        self.open, self.found = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.found += [value for name, value in attrs if name == "title" and value]

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if data.strip() and not HIDDEN & set(self.open):
            self.found.append(" ".join(data.split()))


def texts_of(content):
    """Return the texts of HTML, one after the other."""
    parser = Texts()
    parser.feed(str(content))
    parser.close()
    return parser.found


def figure_texts(figure):
    """Return titles, names of traces, hover texts and annotations of a figure."""
    data = figure.to_plotly_json()
    return [
        re.sub(r"<[^>]+>", " ", text) for text in _strings(data, {"text", "title", "name", "hovertemplate", "y", "x"})
    ]


def _strings(value, keys, key=""):
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _strings(part, keys, name if isinstance(part, str | list | tuple | dict) else key)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part, keys, key)
    elif isinstance(value, str) and key in keys:
        yield value


def live_texts(widget):
    """Yield what a widget and those inside it show."""
    if isinstance(widget, widgets.HTML):
        yield from texts_of(widget.value)
    if isinstance(widget, widgets.Label):
        yield widget.value
    for name in ("description", "tooltip", "placeholder"):
        if text := getattr(widget, name, None):
            yield text
    yield from getattr(widget, "titles", ())
    yield from (str(option[0]) for option in getattr(widget, "options", ()) if isinstance(option, tuple))
    for child in getattr(widget, "children", ()):
        yield from live_texts(child)


def seen_of(panel):
    """Return what a panel shows: the card of its verdict, its controls, and the texts of its report and its figures."""
    try:
        figures = [text for make in panel.view().figures for text in figure_texts(make())]
        texts = texts_of(panel.static_html())
    except WorkbenchError as error:
        figures, texts = [], [error.cause]
    return {
        "title": panel.title,
        "answer": texts_of(panel.answer.value),
        "texts": texts,
        "controls": list(live_texts(panel.root)),
        "figures": figures,
        "tabs": list(panel.tab_titles),
        "errors": [repr(error) for error in panel.errors],
    }


def errors_of(panel, control, value):
    """Return what a panel shows newly after a choice that cannot be."""

    def shown():
        parts = (panel.message, panel.answer, *panel.tabs_html[-len(FRAME_TABS) :])
        return [text for part in parts for text in texts_of(part.value)]

    before = shown()
    panel.controls[control].value = value
    return [text for text in shown() if text not in before]


def error_of(call):
    """Return cause and remedy of a call that fails."""
    try:
        call()
    except WorkbenchError as error:
        return [error.cause, error.remedy]
    return []


def headings():
    """Return the first heading of each notebook."""
    found = {}
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        content = nbformat.read(file, as_version=4)
        translate(content)
        found[file.stem] = content.cells[0].source.splitlines()[0].removeprefix("# ")
    return found


def main():
    manager = JobManager()
    panels = {name: seen_of(panel(manager)) for name, panel in panel_classes().items()}
    os.environ[EXPORT_MODE] = "1"  # nothing is read in the background
    cards = texts_of(QuestionMap(manager).static_html())
    claims = [text for q in questions() for text in texts_of(QuestionClaims(q.number, manager).static_html())]
    classes = panel_classes()
    errors = {name: errors_of(classes[name](manager), control, value) for name, control, value in WRONG}
    errors["an unknown device"] = error_of(lambda: price_load(CostSpec(model="meta-llama/Llama-3.1-8B", device="h300")))
    errors["a ramp without an end"] = error_of(lambda: LoadSpec(url="http://localhost:1", model="m", arrivals="ramp"))
    finding = Finding(topic="processor", state="ok", value="a CPU")
    json.dump(
        {
            "panels": panels,
            "cards": cards,
            "claims": claims,
            "errors": errors,
            "doctor": texts_of(doctor_table([finding])),
            "page": page("", Markup(""), footer=Markup("")),
            "headings": headings(),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
