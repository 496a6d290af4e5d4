"""The planning panel, by driving its controls."""

from pathlib import Path

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.jobs.manager import JobManager
from workbench.questions.parallelism.panel import ParallelismPanel

FAKE = (str(Path(__file__).parents[2] / "support" / "fake_stored_run_child.py"),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield ParallelismPanel(JobManager(tmp_path / "home", child=FAKE), poll_s=0.05)
    ipywidgets.Widget.close_all()


def test_plans_follow_the_load_and_its_slo(panel):
    assert "USD/h" in panel.answer.value
    assert "Cost and speed" in figure_titles(panel)[0]
    assert "Predicted and measured" in figure_titles(panel)[1]
    before = panel.answer.value
    panel.controls["requests_per_s"].value = 100.0
    assert panel.answer.value != before
    panel.controls["tpot_s"].value = 0.01
    assert "TPOT: one sequence alone takes" in panel.answer.value
    assert "No plan meets the SLO" in panel.tabs_html[1].value
    panel.controls["tpot_s"].value = 50.0
    panel.controls["devices"].value = ("h200-sxm",)
    assert "H200" in panel.table.value
    assert "L4" not in panel.table.value
    assert "%) meet the SLO" in panel.tabs_html[1].value
    assert "vllm serve" in panel.tabs_html[0].value
    assert "workbench plan meta-llama/Meta-Llama-3.1-70B --rate 100 --on h200-sxm" in panel.tabs_html[4].value
    assert panel.plan.requests_per_s == 100
    panel.controls["precisions"].value = ("w4a16",)
    assert "w4a16" in panel.table.value
    assert "fp8" not in panel.table.value.replace("FP8 cache", "")
    assert "workbench checkpoints" in panel.tabs_html[0].value
    assert "--precision w4a16" in panel.tabs_html[4].value
    panel.controls["precisions"].value = ("stored", "fp8", "w4a16", "mxfp4", "nvfp4")
    results = {}
    exec(panel.plan.as_code(), results)
    assert [p.device_id for p in results["result"].best] == ["h200-sxm"] * len(results["result"].best)
    assert panel.errors == []


def test_what_cannot_be_planned_says_why(panel):
    panel.controls["model"].value = "Qwen/Qwen3-30B-A3B"
    assert "USD/h" in panel.answer.value
    panel.controls["model"].value = "/nowhere"
    assert "There is no model at /nowhere" in panel.answer.value
    panel.controls["model"].value = "meta-llama/Meta-Llama-3.1-8B"
    panel.job_bar.run.click()
    wait_for(lambda: "in the catalogue only" in panel.message.value)
    assert panel.errors == []
