"""The panel, driven by its controls; the jobs behind it are stand-ins with a real life cycle."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ipywidgets
import pytest
from support import invented_run
from support.waiting import wait_for

from workbench.compress.rows import VariantResult
from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager
from workbench.questions.quantization.panel import QuantizationPanel

FAKE = (str(Path(__file__).with_name("fake_quantization_child.py")),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.interface.declared_panel.MEASURED", tmp_path / "nothing-shipped")
    return JobManager(tmp_path / "home", child=FAKE)


@pytest.fixture
def panel(jobs):
    made = QuantizationPanel(jobs, poll_s=0.05)
    yield made
    assert made.errors == []
    ipywidgets.Widget.close_all()


def here(panel, **options):
    return invented_run(device=(panel.gpu or panel.cpu).name, **options)


def text(panel):
    return " ".join(b.value for b in (panel.header, panel.message, panel.answer, panel.table, *panel.tabs_html))


def with_run(panel, **options):
    run = here(panel, **options)
    panel.manager.store.add(run)
    panel.runs = [run]
    panel.update(run_id=run.id)


def test_importing_the_panel_loads_no_engine():
    code = "import sys, workbench.questions.quantization.panel, workbench.app.start; print([m for m in ('torch', 'vllm', 'onnxruntime', 'pynvml') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_methods_that_cannot_run_are_shown_with_the_reason_not_hidden(panel):
    buttons = panel.controls["methods"].buttons
    assert buttons["fp8-dynamic"].disabled
    assert "8.9" in buttons["fp8-dynamic"].tooltip
    assert "torchao" in buttons["int8-weight"].tooltip
    assert len(buttons) == 12


def test_what_did_not_run_is_a_row_with_its_reason(panel):
    run = here(panel)
    left_out = VariantResult(method="fp8-dynamic", status="not available", reason="needs <more>")
    panel.runs = [replace(run, results=[*run.results, left_out])]
    panel.update(run_id=run.id)
    assert "not available: needs &lt;more&gt;" in panel.table.value
    assert panel.table.value.count("class='best'") == 1
    assert "±" in panel.table.value
    assert "<span title='torchao, one scale per row'>INT8 weight-only</span>" in panel.table.value
    price = panel.table.value
    panel.controls["utilization_fraction"].value = 100
    assert panel.table.value != price


def test_a_control_changes_the_answer(panel):
    with_run(panel)
    assert "Take INT4" in panel.answer.value
    panel.controls["limit"].value = "strict"
    assert "Stay with FP32" in panel.answer.value


def test_the_price_changes_the_cost(panel):
    with_run(panel)
    before = panel.table.value
    panel.controls["usd_per_hour"].value = 10 * panel.state.usd_per_hour
    assert panel.table.value != before


def test_the_batch_changes_table_and_plots(panel):
    with_run(panel)
    assert [b for _, b in panel.controls["batch"].options] == [1, 8]
    panel.controls["batch"].value = 8
    assert "batch 8" in panel.table.value
    plotted = panel.plots[0].outputs[0]["data"]["application/vnd.plotly.v1+json"]
    assert "batch 8" in plotted["layout"]["title"]["text"]


def test_leaving_out_a_method_changes_the_spec(panel):
    panel.controls["methods"].buttons["bf16"].value = False
    assert "bf16" not in panel.plan.methods
    assert "bf16," not in text(panel)


def test_a_catalogue_device_shows_estimates_and_cannot_be_run_on(panel):
    panel.controls["hardware"].value = "catalog:h200-sxm"
    assert "estimated, not measured" in panel.answer.value
    assert "◌" in panel.table.value
    assert panel.job_bar.run.disabled
    assert panel.state.usd_per_hour > 1


def test_a_stored_run_that_is_chosen_replaces_an_estimate(panel):
    with_run(panel)
    panel.controls["hardware"].value = "catalog:h200-sxm"
    assert panel.controls["run_id"].value is None
    panel.controls["run_id"].value = panel.runs[0].id
    assert panel.state.hardware.startswith("this:")
    assert "Take INT4" in panel.answer.value
    stored = replace(panel.runs[0], id="other", environment=replace(panel.runs[0].environment, device="Z80"))
    panel.runs = [*panel.runs, stored]
    panel.controls["hardware"].value = "catalog:h200-sxm"
    panel.controls["run_id"].value = "other"
    assert panel.state.hardware == "stored:Z80"


def test_nothing_run_yet_says_what_to_do(panel):
    panel.controls["model"].value = "/tmp/never-measured"
    assert "No run yet" in panel.answer.value


def test_run_shows_progress_stores_the_run_and_compares_it_with_the_one_before(panel):
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_bar.cancel.disabled is False)
    assert panel.job_bar.run.disabled
    wait_for(lambda: panel.job_id and panel.state.run_id == panel.job_id)
    first = panel.job_id
    assert "done" in panel.job_bar.text.value
    assert panel.manager.store.has(first)
    panel.job_bar.run.click()
    wait_for(lambda: panel.state.compared_ids == (first,))
    assert panel.state.run_id != first
    wait_for(lambda: "speed-up" in panel.tabs_html[-2].value)
    assert len(panel.runs) == 2


def test_cancel_ends_the_job_and_offers_a_resume(panel):
    panel.controls["text"].value = "slow"
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_id and panel.manager.view(panel.job_id).state is JobState.RUNNING)
    panel.job_bar.cancel.click()
    wait_for(lambda: panel.manager.view(panel.job_id).state is JobState.CANCELLED)
    wait_for(lambda: "Cancelled" in panel.message.value)
    assert panel.job_bar.resume.layout.display is None


def test_a_second_panel_finds_the_running_job(panel, jobs):
    panel.controls["text"].value = "slow"
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_id and jobs.view(panel.job_id).state is JobState.RUNNING)
    second = QuantizationPanel(JobManager(jobs.home, child=FAKE), poll_s=0.05)
    wait_for(lambda: "step" in second.job_bar.text.value)
    assert second.job_id == panel.job_id
    second.job_bar.cancel.click()
    wait_for(lambda: "Cancelled" in panel.message.value)
    assert second.errors == []


def test_a_failed_run_shows_cause_remedy_and_folded_details(panel):
    panel.controls["text"].value = "short"
    panel.job_bar.run.click()
    wait_for(lambda: "The run failed" in panel.message.value)
    assert "too short" in panel.message.value
    assert "<details>" in panel.message.value


@pytest.mark.parametrize("path", ["/nowhere/model", "notebooks"])
def test_a_folder_that_is_no_model_gives_one_readable_message(panel, path):
    panel.controls["model"].value = path
    panel.job_bar.run.click()
    wait_for(lambda: "Not possible" in panel.message.value)
    assert "Traceback" not in panel.message.value
    assert not panel.job_bar.run.disabled


def test_a_defect_in_a_handler_is_shown_and_kept(jobs):
    broken = QuantizationPanel(jobs, poll_s=0.05)
    broken.draw = lambda: 1 / 0
    broken.controls["limit"].value = "loose"
    assert "defect" in broken.message.value
    assert isinstance(broken.errors[0], ZeroDivisionError)
    ipywidgets.Widget.close_all()


def test_a_choice_of_nothing_is_shown_as_such(panel):
    with_run(panel)
    panel.controls["hardware"].value = "catalog:h200-sxm"
    assert panel.controls["run_id"].label


def test_every_control_says_what_it_is(panel):
    for control in panel.controls.values():
        assert getattr(control, "description", "") or control.children[0].value


def test_the_static_twin_has_the_same_answer_and_no_widgets(panel, monkeypatch):
    with_run(panel)
    static = panel.static_html()
    assert "Take INT4" in static
    assert "wb-whatif" in static
    monkeypatch.setenv("WORKBENCH_EXPORT", "1")
    assert set(panel._repr_mimebundle_()) == {"text/html", "text/plain"}


def test_saving_writes_one_offline_file(panel, tmp_path, monkeypatch):
    with_run(panel)
    monkeypatch.chdir(tmp_path)
    panel.save.click()
    saved = list(tmp_path.glob("*.html"))
    assert len(saved) == 1
    assert saved[0].stat().st_size < 1e6


def test_a_result_is_dimmed_when_the_choices_go_beyond_it(panel):
    with_run(panel)
    assert "stale" not in panel.answer.value  # nothing was chosen yet
    panel.controls["methods"].buttons["bf16"].value = not panel.controls["methods"].buttons["bf16"].value
    assert "stale" in panel.answer.value  # many more methods are chosen than were measured
    for name, button in panel.controls["methods"].buttons.items():
        if not button.disabled:
            button.value = name in {"fp32", "int8-weight", "int4-g32"}
    assert "stale" not in panel.answer.value
