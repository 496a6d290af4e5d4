"""The cost panel, by driving its controls."""

from pathlib import Path

import ipywidgets
import pytest

from workbench.jobs.manager import JobManager
from workbench.panels.cost import CostPanel
from workbench.testing.waiting import figure_titles, wait_for

FAKE = (str(Path(__file__).parents[1] / "jobs" / "fake_stored_run_child.py"),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield CostPanel(JobManager(tmp_path / "home", child=FAKE), poll_s=0.05)
    ipywidgets.Widget.close_all()


def test_prices_follow_the_load_and_the_machines(panel):
    assert "per million input tokens" in panel.answer.value
    assert ["What each way" in t or "The same replicas" in t for t in figure_titles(panel)] == [True, True]
    before = panel.answer.value
    panel.controls["requests_per_s"].value = 400.0
    assert panel.answer.value != before
    panel.controls["smaller"].value = ""
    assert "no smaller model was named" in panel.tabs_html[1].value
    panel.controls["device"].value = "l4"
    assert "Constants are of another device" in panel.answer.value
    assert "workbench cost meta-llama/Meta-Llama-3.1-8B l4 --rate 400" in panel.tabs_html[0].value
    panel.controls["tpot_ms"].value = 0.01
    assert "No plan in BF16 keeps these promises" in panel.answer.value
    assert panel.errors == []


def test_what_cannot_be_measured_is_told_before_a_job_starts(panel):
    panel.job_bar.run.click()
    wait_for(lambda: "in the catalogue only" in panel.message.value)
    assert panel.errors == []


def test_a_report_has_sliders_that_work_without_a_kernel(panel):
    page = panel.static_html()
    assert "wb-whatif" in page
    assert "W4A16 " in page
