"""What holds for every panel: its controls come from knobs, no choice is lost while a job's thread draws, and no text of a run becomes anything but text."""

import threading
from dataclasses import replace
from functools import cache
from typing import ClassVar, get_origin, get_type_hints

import ipywidgets as widgets
import msgspec
import pytest
from support import strict_callbacks
from support.every_panel import panel_classes

from workbench.catalog.paths import MEASURED
from workbench.core.errors import InvalidSpec, StoreError, WorkbenchError
from workbench.core.rows import flat, plain
from workbench.interface.command import printed
from workbench.interface.html import EMPTY, joined
from workbench.interface.knobs import stored
from workbench.interface.report.page import page
from workbench.interface.shared_view import download_links
from workbench.interface.toggles import Toggles
from workbench.jobs.manager import JobManager
from workbench.store.runs import read_run_file, runs_in_folder

PANELS = panel_classes()
HOSTILE = "\"'><img src=x onerror=window.hacked=1><script>window.hacked=1</script>[bold]\x1b]0;hacked\x07"
each = pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS, indirect=True)


@pytest.fixture(scope="module")
def panel(request, tmp_path_factory):
    """A panel of each class, which all tests of it use one after the other."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, strict_callbacks(patch.setattr):
        patch.setenv("WORKBENCH_HOME", str(home))
        yield request.param(JobManager(home))
    widgets.Widget.close_all()


@each
def test_every_control_of_a_panel_comes_from_a_knob(panel):
    assert panel.errors == []
    known = {**panel.view_fields, **panel.fields}
    assert set(panel.controls) - {"run_id"} == set(known)
    for name, made in panel.controls.items():
        if name != "run_id" and not isinstance(made, Toggles):
            assert made.description.startswith(known[name].knob.label)  # a unit may follow from the state
            assert made.tooltip == known[name].knob.help


@each
def test_the_text_of_a_view_opens_the_same_view_again(panel):
    changed = next((n for n in panel.controls if n != "run_id" and another_value(panel, n) is not None), None)
    before = panel.state
    if changed:
        panel.controls[changed].value = another_value(panel, changed)
    shared, state = str(panel.shared_choices()), panel.state
    assert panel.link.state == shared
    panel.reset.click()
    assert panel.state == panel.state.__class__(**{f: getattr(before, f) for f in before.__dataclass_fields__})
    panel.link.opened = shared
    assert panel.state == state
    assert panel.errors == []
    panel.link.opened = "another-panel?x=1"
    assert panel.state == state
    panel.reset.click()


@each
def test_runs_are_set_beside_each_other(panel):
    others = [r.id for r in panel.runs if r.id != panel.state.run_id][:2]
    if not others or not panel.lists_runs or not panel.kind:
        pytest.skip("it has no second run")
    boxes = panel.compare.children[: len(others)]
    for box in boxes:
        box.value = True
    assert set(panel.state.compared_ids) == set(others)
    shown = panel.tabs_html[-2].value
    assert all(i[:8] in shown for i in others) or "differs by more than 1 %" in shown
    assert str(panel.shared_choices()).count(others[0])
    for box in boxes:
        box.value = False
    assert panel.state.compared_ids == ()
    assert panel.errors == []


def another_value(panel, name):
    """A value that a control can hold and does not; None where there is none."""
    made, value = panel.controls[name], panel.controls[name].value
    if isinstance(made, Toggles):
        return tuple(value[1:]) if len(value) > 1 else None
    if isinstance(made, widgets.Checkbox):
        return not value
    if hasattr(made, "options") and not isinstance(made, widgets.Combobox):
        return next((v for _, v in made.options if v != value), None)
    if isinstance(made, widgets.BoundedIntText | widgets.BoundedFloatText | widgets.IntSlider | widgets.FloatSlider):
        return next(v for v in (value + (made.step or 1), value - (made.step or 1)) if made.min <= v <= made.max)
    return None


def a_choice(panel):
    """A control with another value for it, which the panel keeps when nothing else happens."""
    for name in panel.controls:
        value = another_value(panel, name) if name != "run_id" else None
        if value is not None:
            old = panel.controls[name].value
            panel.controls[name].value = value
            kept = panel.controls[name].value == value and not panel.message.value.count("failure")
            panel.controls[name].value = old
            if kept:
                return name, value
    pytest.skip("nothing can be chosen")
    return None


@each
def test_a_choice_made_while_a_jobs_thread_draws_is_kept(panel):
    name, value = a_choice(panel)
    before = panel.controls[name].value
    drawing, chosen = threading.Event(), threading.Event()
    plain = panel.view

    def held():
        drawing.set()
        chosen.wait(0.1)  # the reader's choice cannot end before the drawing does: it waits for it
        return plain()

    panel.view = held
    job = threading.Thread(target=panel.draw)
    job.start()
    assert drawing.wait(60)
    panel.view = plain
    panel.controls[name].value = value
    chosen.set()
    job.join(60)
    assert panel.controls[name].value == value
    kept = panel.state.asked[name] if name in panel.fields else getattr(panel.state, name)
    assert kept == stored(panel._field(name), value)
    assert panel.errors == []
    panel.controls[name].value = before


@each
def test_an_answer_that_takes_long_is_shown_as_being_computed(panel):
    marked, plain = threading.Event(), panel.view
    panel.answer.observe(lambda change: "wb-computing" in change["new"] and marked.set(), names="_dom_classes")

    def held():
        assert marked.wait(60)
        return plain()

    panel.view = held
    panel.draw()
    panel.view = plain
    panel.answer.unobserve_all("_dom_classes")
    assert marked.is_set()
    assert not {"wb-computing"} & {*panel.answer._dom_classes, *panel.plot_box._dom_classes}
    assert panel.errors == []


@each
def test_plots_are_said_to_be_computed_from_the_start_of_a_change_that_redraws_them(panel, monkeypatch):
    monkeypatch.setattr("workbench.interface.panel.COMPUTING_AFTER_S", 600.0)
    plain, seen = panel.view, []

    def watched():
        seen.append("wb-computing" in {*panel.answer._dom_classes, *panel.plot_box._dom_classes})
        return plain()

    has_plots = any(plot.outputs for plot in panel.plots)
    panel._redraws.clear()
    panel.view = watched
    same = {"compared_ids": panel.state.compared_ids}
    for last_answer_s in (0.0, 0.0, 600.0):  # the same choice gives the same plots, so that it is not announced again
        panel._last_answer_s = last_answer_s
        panel.update(**same)
    panel._last_answer_s = 600.0
    panel.draw()  # as a job's progress does
    panel.view = plain
    assert seen == [has_plots, False, True, False]
    assert not {"wb-computing"} & {*panel.answer._dom_classes, *panel.plot_box._dom_classes}


def text_places(value, path=()):
    """Where in a JSON value texts stand; items of a list share one place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from text_places(item, (*path, key))
    elif isinstance(value, list | tuple):
        for item in value[:40]:
            yield from text_places(item, (*path, "*"))
    elif isinstance(value, str):
        yield path


def planted(value, path):
    """A copy of a JSON value with the hostile text in one place."""
    if not path:
        return f"{value}{HOSTILE}" if isinstance(value, str) else value
    head, *rest = path
    if head == "*":
        return [planted(item, rest) for item in value] if isinstance(value, list) else value
    return {k: planted(v, rest) if k == head else v for k, v in value.items()} if isinstance(value, dict) else value


def decoded(value, kind, otherwise):
    """A part of a run as it enters from JSON; another where it is refused there: a text that is one of a few is no place for this."""
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except (msgspec.ValidationError, InvalidSpec):
        return otherwise


def places_of(value):
    return [p for p in dict.fromkeys(text_places(value)) if p[-1:] != ("part",)]


def hostile_runs(run):
    """The run, once for each place of text, with a hostile text there; ids and kinds are refused where runs enter."""
    spec = plain(run.spec)
    for place in places_of(spec):
        yield ("spec", *place), replace(run, spec=planted(spec, place))
    for part, items in (("results", run.results), ("failures", run.failures)):
        values = plain(items)
        for place in places_of(values):
            made = [decoded(v, type(i), i) for v, i in zip(planted(values, place), items, strict=True)]
            if made != list(items):
                yield (part, *place), replace(run, **{part: made})
    for name, kind in get_type_hints(type(run.samples)).items():
        if name in {"part", "requests", "telemetry"} or get_origin(kind) is ClassVar:
            continue
        own = getattr(run.samples, name)
        value = plain(own)
        for place in places_of(value):
            made = decoded(planted(value, place), kind, own)
            if made is not own:
                yield ("samples", name, *place), replace(run, samples=replace(run.samples, **{name: made}))
    for name in ("device", "device_id", "cpu", "driver", "python"):
        yield ("environment", name), replace(run, environment=replace(run.environment, **{name: HOSTILE}))


def hostile_row(row):
    """A row with the hostile text in every place."""
    for place in places_of(plain(row)):
        row = decoded(planted(plain(row), place), type(row), row)
    return row


@cache
def one_run_of_each_kind():
    runs = {}
    for run in runs_in_folder(MEASURED):
        runs.setdefault(run.kind, run)
    return runs


def shown(panel):
    """Everything that a panel says of its run in a report; texts inside figures are data of a script."""
    try:
        return str(panel.static_html())
    except WorkbenchError as error:
        panel.show_error(error)
        return panel.message.value


STILL_SHOWN = {}
"""By panel and part of a run, that part with a hostile text in the last place where the panel still shows the run."""


def draw_hostile_runs(panel, own):
    """Check every hostile run of a panel, and fill ``STILL_SHOWN``."""
    parts = STILL_SHOWN[type(panel)] = {}
    for place, run in hostile_runs(own):
        panel.runs, panel.errors = [run], []
        panel.state = replace(panel.state, run_id=run.id)
        content = shown(panel)
        assert "<img src=x" not in content, place
        assert "<script>window" not in content, place
        if not panel.errors:
            parts[place[0]] = getattr(run, place[0])


@each
def test_a_hostile_text_in_any_place_of_a_run_stays_text(panel):
    own = one_run_of_each_kind().get(panel.kind)
    if own is None:
        pytest.skip("its runs do not ship")
    draw_hostile_runs(panel, own)


def test_the_run_with_markup_as_its_id_is_refused():
    file = MEASURED.parents[1] / "tests" / "questions" / "run_with_html_id.json"
    with pytest.raises(StoreError, match="`id`"):
        read_run_file(file)


@pytest.mark.browser
@pytest.mark.usefixtures("strict")
def test_hostile_runs_create_no_element_and_no_handler(manager, page_of, tmp_path):
    """One page of all panels' reports, each drawn from a run whose texts are hostile wherever the panel still shows it."""
    runs, bodies = one_run_of_each_kind(), []
    for panel_class in PANELS.values():
        panel = panel_class(manager)
        own = runs.get(panel.kind)
        if own is None:
            continue
        kept = own
        if panel_class not in STILL_SHOWN:
            draw_hostile_runs(panel, own)
        for part, hostile in STILL_SHOWN[panel_class].items():
            panel.runs = [replace(kept, **{part: hostile})]
            panel.state, panel.errors = replace(panel.state, run_id=own.id), []
            shown(panel)
            kept = kept if panel.errors else panel.runs[0]
        panel.runs = [kept]
        bodies.append(panel.static_html())
    file = tmp_path / "hostile.html"
    file.write_text(page("hostile", joined(*bodies), footer=EMPTY))
    opened, complaints = page_of()
    opened.goto(file.as_uri())
    opened.wait_for_function("document.querySelectorAll('.js-plotly-plot').length > 10")
    count = "document.querySelectorAll('img[src=x], [onerror], [onclick], [onload], main script:not([type])').length"
    assert opened.evaluate(count) == 0
    assert opened.evaluate("window.hacked") is None
    assert complaints.errors == []
    assert not [r for r in complaints.requests if not r.startswith(("file:", "data:", "blob:"))]
    widgets.Widget.close_all()


def test_hostile_texts_stay_text_in_csv_and_terminal(capsys):
    for run in one_run_of_each_kind().values():
        made = replace(run, results=[hostile_row(row) for row in run.results[:20]])
        rows = [flat(row) for row in made.results]
        assert "<img" not in str(download_links(made, rows))
        printed(made, list(rows[0]), as_json=False)
    said = capsys.readouterr().out
    assert "<img" in said
    assert "\x1b]" not in said  # no sequence that a terminal obeys
