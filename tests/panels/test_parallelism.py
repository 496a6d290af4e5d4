"""The planning panel, by driving its controls."""

import time
from pathlib import Path

import ipywidgets
import pytest

from workbench.jobs.manager import JobManager
from workbench.panels.parallelism import ParallelismPanel
from workbench.testing.waiting import figure_titles

FAKE = (str(Path(__file__).parents[1] / "jobs" / "fake_stored_run_child.py"),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield ParallelismPanel(JobManager(tmp_path / "home", child=FAKE), poll_s=0.05)
    ipywidgets.Widget.close_all()


def test_plans_follow_the_load_and_its_promises(panel):
    assert "USD/h" in panel.answer.value
    assert "Cost and speed" in figure_titles(panel)[0]
    assert "Predicted and measured" in figure_titles(panel)[1]
    before = panel.answer.value
    panel.controls["requests_per_s"].value = 100.0
    assert panel.answer.value != before
    panel.controls["tpot_ms"].value = 0.01
    assert "No plan keeps these promises: TPOT" in panel.answer.value
    assert "There is no plan to simulate" in panel.tabs_html[1].value
    panel.controls["tpot_ms"].value = 50.0
    panel.controls["devices"].value = ("h200-sxm",)
    assert "H200" in panel.table.value
    assert "L4" not in panel.table.value
    assert "keep both promises" in panel.tabs_html[1].value
    assert "vllm serve" in panel.tabs_html[0].value
    assert panel.errors == []


def test_what_cannot_be_planned_is_told(panel):
    panel.controls["model"].value = "Qwen/Qwen3-30B-A3B"
    assert "USD/h" in panel.answer.value
    panel.controls["model"].value = "/nowhere"
    assert "There is no model at /nowhere" in panel.answer.value
    panel.controls["model"].value = "meta-llama/Meta-Llama-3.1-8B"
    panel.job_bar.run.click()
    deadline = time.monotonic() + 20
    while "in the catalogue only" not in panel.message.value:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert panel.errors == []
