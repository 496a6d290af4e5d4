"""The panel of a GPU's time, by driving its controls; recording is real, of this machine."""

import time

import ipywidgets
import pytest

from workbench.jobs.manager import JobManager
from workbench.panels.utilisation import LIVE, UtilisationPanel
from workbench.testing.waiting import figure_titles, wait_for

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    made = UtilisationPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    yield made
    ipywidgets.Widget.close_all()


def test_a_recorded_gpu_is_shown_as_such_and_its_time_split(panel):
    assert "tensor cores were at work" in panel.answer.value
    assert "most is lost to" in panel.answer.value
    assert "measured on NVIDIA H100" in panel.header.value
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>Where its time goes</b>",
        "<b>What it did, second by second</b>",
    ]
    assert "clock below the highest" in panel.table.value
    assert "held down by the power limit" in panel.table.value
    assert "per request that kept its promises" in panel.tabs_html[0].value
    assert "engine.num_requests_running" in panel.tabs_html[1].value
    assert panel.errors == []


def test_a_request_is_laid_over_the_samples_of_its_lifetime(panel):
    def bands():
        layout = panel.plots[1].outputs[0]["data"]["application/vnd.plotly.v1+json"]["layout"]
        return [(round(s["x0"], 3), round(s["x1"], 3)) for s in layout.get("shapes", [])]

    longest_wait = bands()
    assert len(longest_wait) == 2
    assert longest_wait[0][1] == longest_wait[1][0]  # first token
    panel.controls["request"].value = "middle"
    assert bands() != longest_wait
    panel.controls["request"].value = "none"
    assert bands() == []
    other = next(v for _, v in panel.controls["run_id"].options if v != panel.state.run_id)
    before = panel.answer.value
    panel.controls["run_id"].value = other
    assert panel.answer.value != before
    assert panel.errors == []


def test_this_machine_is_recorded_live_and_kept(panel):
    panel.controls["duration_s"].value = 4.0
    panel.job_bar.run.click()
    wait_for(lambda: panel.state.run_id == LIVE, 60)
    wait_for(lambda: "now" in panel.header.value, 20)
    wait_for(
        lambda: panel.state.run_id not in {None, LIVE} and "recording of" in str(panel.controls["run_id"].options[0]),
        60,
    )
    assert "run " in panel.header.value
    assert "What it did" in figure_titles(panel)[-1]
    assert "host.cpu_percent" in panel.tabs_html[1].value
    if "No GPU was seen" in panel.answer.value:
        assert "NVML" in panel.answer.value
    time.sleep(0.2)
    assert panel.errors == []


def test_a_recording_that_is_cancelled_leaves_the_panel_usable(panel):
    panel.controls["duration_s"].value = 600.0
    panel.job_bar.run.click()
    wait_for(lambda: panel.state.run_id == LIVE, 60)
    panel.job_bar.cancel.click()
    wait_for(lambda: "Cancelled" in panel.message.value, 30)
    panel.controls["run_id"].value = panel.runs[0].id
    assert "tensor cores were at work" in panel.answer.value
    assert panel.errors == []


def test_odd_wishes_are_refused_before_a_job_starts(panel):
    panel.controls["url"].value = "localhost:8000"
    assert "is not a URL" in panel.message.value
    panel.controls["url"].value = ""
    assert panel.message.value == "<div class='wb'></div>"
    assert panel.errors == []
