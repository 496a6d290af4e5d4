"""A view travels as a link, a file or settings of a report, and what cannot be opened is refused with its cause."""

import json
from dataclasses import replace

import nbformat
import pytest
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.app.panels import panel_class, panel_modules
from workbench.catalog.paths import MEASURED, NOTEBOOKS
from workbench.jobs.manager import JobManager
from workbench.store.runs import runs_in_folder

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(*arguments):
    result = RUNNER.invoke(app, list(arguments))
    return result.exit_code, " ".join(result.output.split())


def test_every_notebook_but_the_first_opens_panels_that_can_be_shared():
    code = "\n".join(
        cell.source for path in sorted(NOTEBOOKS.glob("*.ipynb")) for cell in nbformat.read(path, as_version=4).cells
    )
    for name, module in panel_modules().items():
        assert f"from {module} import" in code, name


def test_a_links_text_opens_the_same_view_as_a_page(tmp_path):
    status, said = shown("show", "engines?slo_ttft_s=0.123&usd_per_hour=7.77", "--out", "view.html")
    assert status == 0
    assert "TTFT up to 123 ms" in said
    page = (tmp_path / "view.html").read_text()
    assert "TTFT up to 123 ms" in page
    assert ">7.77<" in page


def test_a_saved_view_carries_its_run_to_another_machine(tmp_path, monkeypatch):
    run = next(r for r in runs_in_folder(MEASURED) if r.kind == "edge" and r.model == "digits")
    manager = JobManager()
    own = replace(run, id="0123456789ab", finished_at="2030-01-01T00:00:00+00:00")
    manager.store.add(own)
    panel = panel_class("edge")(manager)
    assert panel.run.id == own.id
    panel.save_view.click()
    assert panel.errors == []
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "elsewhere"))
    status, said = shown("show", "edge_view.json", "--out", "view.html")
    assert status == 0, said
    assert own.id in (tmp_path / "view.html").read_text()
    assert JobManager().store.get(own.id) == own


@pytest.mark.parametrize(
    ("view", "cause"),
    [
        ("engines?slo_ttft_s=soon", "not a number"),
        ("engines?slo_ttft_s=-1", "out of range"),
        ("engines?nothing=1", "no control nothing"),
        ("engines?run_id=000000000000", "not stored here"),
        ("edge?batch=7", "not offered"),
        ("nowhere?x=1", "no panel 'nowhere'"),
        ("missing.json", "cannot be read"),
        ("[1]", "not the file of a view"),
        ('{"workbench_view": 9, "state": "cost?"}', "format 9"),
        ('{"workbench_view": 1, "state": "cost?", "run": {"kind": "x"}}', "not a stored run"),
        ('{"workbench_view": 1, "state": "cost", "more": 1}', "not the file of a view"),
        ("[" * 100_000, "not the file of a view"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_sentence(tmp_path, view, cause):
    if view[0] in "[{":
        (tmp_path / "view.json").write_text(view)
        view = "view.json"
    status, said = shown("show", view)
    assert status == 2
    assert cause in said
    assert "Traceback" not in said


def test_a_report_opens_with_what_was_set_and_with_the_chosen_run(tmp_path):
    older = sorted((r for r in runs_in_folder(MEASURED) if r.kind == "engine_sweep"), key=lambda r: r.finished_at)[0]
    notebook = str(NOTEBOOKS / "01_engines.ipynb")
    status, said = shown("export", notebook, "--set", "slo_ttft_s=0.077", "--runs", older.id, "--out", "made")
    assert status == 0, said
    text = (tmp_path / "made" / "01_engines.html").read_text()
    assert ">0.077<" in text
    assert f"run {older.id}" in text


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--set", "slo_ttft_s"), "sets nothing"),
        (("--set", "nothing=1"), "has a control nothing"),
        (("--runs", "000000000000"), "can show run 000000000000"),
    ],
)
def test_settings_that_no_panel_has_are_refused_before_anything_runs(options, cause):
    status, said = shown("export", str(NOTEBOOKS / "01_engines.ipynb"), *options)
    assert status == 2
    assert cause in said


def test_a_file_that_is_no_notebook_is_refused(tmp_path):
    (tmp_path / "n.ipynb").write_text(json.dumps([1]))
    status, said = shown("export", "n.ipynb")
    assert status == 1
    assert "not a notebook" in said
