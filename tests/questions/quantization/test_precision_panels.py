"""The panels of vLLM's steps, of evaluations, of calibration text and of claims, on the shipped runs."""

from dataclasses import replace
from pathlib import Path

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.catalog.paths import MEASURED
from workbench.jobs.manager import JobManager
from workbench.questions.quantization.evaluation.panel import EvaluationPanel
from workbench.questions.quantization.plan_damage.panel import CalibrationPanel
from workbench.questions.quantization.serving_speed.panel import ServingSpeedPanel
from workbench.store.runs import read_run_file

FAKE = (str(Path(__file__).parents[2] / "support" / "fake_stored_run_child.py"),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def jobs(tmp_path):
    yield JobManager(tmp_path / "home", child=FAKE)
    ipywidgets.Widget.close_all()


def test_batch_and_context_choose_the_cell_that_is_answered(jobs):
    panel = ServingSpeedPanel(jobs, poll_s=0.05)
    assert "At 1 × 1024 tokens, mixed is fastest" in panel.answer.value
    panel.controls["batch"].value = 256
    assert "At 256 × 1024 tokens, FP8 · FP8 KV is fastest" in panel.answer.value
    panel.controls["context_tokens"].value = 8192
    assert panel.state.batch in [value for _, value in panel.controls["batch"].options]
    assert "8192 tokens" in figure_titles(panel)[0]
    assert panel.errors == []


def test_leaving_out_a_precision_leaves_it_out_of_the_answer(jobs):
    panel = ServingSpeedPanel(jobs, poll_s=0.05)
    panel.controls["served"].buttons["mixed"].value = False
    assert "At 1 × 1024 tokens, FP8 is not shown to differ" in panel.answer.value
    assert "mixed" not in panel.table.value
    assert "mixed" not in panel.plan.served
    panel.controls["served"].buttons["mixed"].value = True
    assert panel.plan.plan["gate_up"] == "w4a16"
    assert panel.errors == []


def test_a_model_that_cannot_be_measured_here_is_told_before_a_job_starts(jobs):
    panel = ServingSpeedPanel(jobs, poll_s=0.05)
    panel.controls["model"].value = "/nowhere"
    panel.job_bar.run.click()
    wait_for(lambda: "Not possible" in panel.message.value)
    assert jobs.views() == []
    assert panel.errors == []


def test_an_evaluation_shows_divergence_keys_and_what_the_tasks_cannot_tell(jobs):
    panel = EvaluationPanel(jobs, poll_s=0.05)
    caches = next(v for label, v in panel.controls["run_id"].options if label.startswith("cache formats"))
    panel.controls["run_id"].value = caches
    assert "INT8 cache, scale per token is closest to the original" in panel.answer.value
    assert "INT4 cache, scale per head answered significantly fewer questions than the original" in panel.answer.value
    assert "KL divergence from the original" in figure_titles(panel)[0]
    assert "Pass keys retrieved by depth" in figure_titles(panel)[1]
    assert panel.table.value.count("class='best'") == 1
    assert panel.errors == []


def test_bad_candidates_give_one_readable_message_and_no_job(jobs):
    panel = EvaluationPanel(jobs, poll_s=0.05)
    panel.controls["candidates"].value = ("kv:nope",)
    panel.job_bar.run.click()
    wait_for(lambda: "Unknown cache formats: kv:nope" in panel.message.value)
    panel.controls["candidates"].value = ("/nowhere/checkpoint",)
    panel.job_bar.run.click()
    wait_for(lambda: "/nowhere/checkpoint: no such folder" in panel.message.value)
    panel.controls["candidates"].value = ()
    assert "no checkpoint to evaluate" in panel.tabs_html[0].value
    assert jobs.views() == []
    assert panel.errors == []


def test_a_new_evaluation_is_shown(jobs, monkeypatch):
    monkeypatch.setenv("WORKBENCH_FAKE_RUN", str(MEASURED / "evaluation_stdlib-9m_kv_epyc-2-cores.json"))
    panel = EvaluationPanel(jobs, poll_s=0.05)
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_id and panel.job_id in panel.header.value)
    assert panel.errors == []


def test_the_calibration_curve_names_the_knee_or_the_command(jobs, monkeypatch, tmp_path):
    stored = read_run_file(MEASURED / "plan_damage_stdlib-9m_calibration_epyc-2-cores.json")
    panel = CalibrationPanel(jobs)
    assert "tokens of calibration text are enough here" in panel.answer.value
    assert "KL divergence by calibration text" in panel.static_html()
    assert "--samples 0,1,2,4,8,16,32,64" in panel.tabs_html[0].value
    monkeypatch.setattr("workbench.interface.declared_panel.MEASURED", tmp_path)
    assert "Nothing was measured yet" in CalibrationPanel(jobs).answer.value
    jobs.store.add(replace(stored, id="own"))
    assert "run own" in CalibrationPanel(jobs).header.value


def test_a_plan_that_was_verified_elsewhere_does_not_take_the_curves_place(jobs, monkeypatch):
    monkeypatch.setenv("WORKBENCH_FAKE_RUN", str(MEASURED / "plan_damage_stdlib-9m_default-plan_epyc-2-cores.json"))
    panel = CalibrationPanel(jobs, poll_s=0.05)
    shown = panel.state.run_id
    panel.job_bar.run.click()
    wait_for(lambda: jobs.store.newest("plan_damage") and "done" in panel.job_bar.text.value)
    wait_for(lambda: panel.state.run_id == shown)
    assert "tokens of calibration text are enough here" in panel.answer.value
    assert panel.errors == []
