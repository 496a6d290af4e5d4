"""The monitoring panel: measured loads in retrospect, and a live server that goes away."""

import ipywidgets
import pytest

from workbench.jobs.manager import JobManager
from workbench.panels.monitoring import LIVE, MonitoringPanel
from workbench.testing.page_server import page_server, replying
from workbench.testing.waiting import figure_titles, wait_for

pytestmark = pytest.mark.usefixtures("strict")
PAGE = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 1.0\n'


@pytest.fixture
def panel(tmp_path):
    yield MonitoringPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    ipywidgets.Widget.close_all()


@pytest.fixture
def server():
    with page_server(replying(PAGE)) as httpd:
        yield httpd


def test_an_overloaded_server_is_told_and_a_looser_promise_is_kept(panel):
    assert "measured on NVIDIA H100" in panel.header.value
    assert "FirstTokensLate" in panel.answer.value
    assert "RequestsWait" in panel.tabs_html[0].value
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>Which rules hold and fire</b>",
        "<b>FirstTokensLate: value and threshold</b>",
    ]
    assert "nothing to say" in panel.table.value  # gaps between tokens were not kept
    panel.controls["rule"].value = "RequestsWait"
    assert "RequestsWait: value" in figure_titles(panel)[1]
    panel.controls["ttft"].value = "5.0"
    panel.controls["objective_percent"].value = 90.0
    assert "PromiseUsedUpFast" not in panel.tabs_html[0].value
    assert "le=\\&quot;5.0\\&quot;" in panel.tabs_html[1].value or "5.0" in panel.tabs_html[1].value
    assert panel.errors == []


def test_a_server_is_watched_live_until_it_is_gone(panel, server):
    panel.controls["patience_s"].value = 1.0
    panel.controls["interval_s"].value = 0.5
    panel.controls["duration_s"].value = 8.0
    panel.controls["url"].value = f"http://127.0.0.1:{server.server_port}"
    panel.job_bar.run.click()
    wait_for(lambda: panel.state.run_id == LIVE, 60)
    wait_for(lambda: "Yes: none of 10 rules fired" in panel.answer.value, 20)
    server.shutdown()
    server.server_close()
    wait_for(lambda: "NoMetrics" in panel.tabs_html[0].value, 30)
    wait_for(lambda: panel.state.run_id not in {None, LIVE} and panel.runs[0].kind == "monitoring", 60)
    assert "NoMetrics" in panel.table.value
    assert "cannot be read" in panel.answer.value
    assert panel.errors == []


def test_odd_wishes_are_refused(panel):
    panel.controls["url"].value = "nowhere"
    assert "is not a URL" in panel.message.value
    assert panel.errors == []
