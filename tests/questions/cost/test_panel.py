"""The cost panel, by driving its controls."""

from pathlib import Path

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.calibrate.device.spec import CalibrationSpec
from workbench.catalog.paths import MEASURED
from workbench.jobs.manager import JobManager
from workbench.questions.cost.panel import CostPanel

FAKE = (str(Path(__file__).parents[2] / "support" / "fake_stored_run_child.py"),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield CostPanel(JobManager(tmp_path / "home", child=FAKE), poll_s=0.05)
    ipywidgets.Widget.close_all()


def test_prices_follow_the_load_and_the_machines(panel):
    assert "per million input tokens" in panel.answer.value
    assert ["Savings by technique" in t or "Hourly price" in t for t in figure_titles(panel)] == [True, True]
    before = panel.answer.value
    panel.controls["requests_per_s"].value = 400.0
    assert panel.answer.value != before
    panel.controls["smaller"].value = ""
    assert "no smaller model was named" in panel.tabs_html[0].value
    panel.controls["device"].value = "l4"
    assert "Constants are of another device" in panel.answer.value
    assert "workbench cost meta-llama/Meta-Llama-3.1-8B l4 --rate 400 --smaller" in panel.tabs_html[3].value
    panel.controls["tpot_s"].value = 0.01
    assert "No plan in BF16, FP8" in panel.answer.value
    assert panel.errors == []


def test_what_cannot_be_measured_is_refused_before_a_job_starts(panel):
    panel.job_bar.run.click()
    wait_for(lambda: "in the catalogue only" in panel.message.value)
    assert panel.errors == []


def test_run_measures_the_device_for_a_price_that_was_asked(panel, monkeypatch):
    monkeypatch.setenv("WORKBENCH_FAKE_RUN", str(MEASURED / "calibration_llama-3.1-8b-shape_h200.json"))
    monkeypatch.setattr(panel, "check", lambda: None)
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_id and panel.job_id in panel.tabs_html[-1].value)
    assert panel.run.kind == "calibration"
    assert CalibrationSpec.from_dict({k: panel.run.spec[k] for k in ("model", "parts")}) == panel.measured_spec
    assert "run_id" not in panel.controls  # prices do not follow from a run
    assert panel.errors == []


def test_a_report_has_sliders_that_work_without_a_kernel(panel):
    page = panel.static_html()
    assert "wb-whatif" in page
    assert "W4A16 " in page
