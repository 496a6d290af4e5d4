"""The panels of surges and scaling, by driving their controls."""

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.jobs.manager import JobManager
from workbench.questions.surge.panel import SurgePanel
from workbench.questions.surge.scaling.panel import ScalingPanel

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def titles(panel):
    return [t.split("<br>")[0].removeprefix("<b>").removesuffix("</b>") for t in figure_titles(panel)]


def test_a_surge_is_shown_by_controls_and_tenant(manager):
    panel = SurgePanel(manager, poll_s=0.05)
    assert "capacity at a request rate of" in panel.answer.value
    assert titles(panel) == ["Requests that met the SLO", "Goodput of each tenant over its fair share"]
    assert "--max-num-queued-reqs" in panel.tabs_html[1].value
    panel.controls["compared"].value = "queue"
    assert "concurrency limit and fair queue" in figure_titles(panel)[0]
    panel.controls["overload"].value = 4.5
    assert "--overload 4.5" in panel.tabs_html[2].value
    assert "overload=4.5" in panel.tabs_html[3].value
    assert panel.errors == []


def test_a_surge_before_nothing_is_told(manager):
    panel = SurgePanel(manager, poll_s=0.05)
    panel.controls["model"].value = "/no/such/folder"
    panel.job_bar.run.click()
    wait_for(lambda: "wb-message failure" in panel.message.value)
    assert panel.errors == []


def test_scaling_is_played_for_every_choice(manager):
    panel = ScalingPanel(manager, poll_s=0.05)
    assert titles(panel) == ["SLO misses against cost", "Replicas over time"]
    assert panel.job_bar.box not in panel.root.children[-1].children[0].children
    before = panel.answer.value
    panel.controls["trace"].value = "code"
    assert panel.answer.value != before
    panel.controls["start_s"].value = 300.0
    assert "--start-s 300" in panel.tabs_html[0].value
    panel.controls["warm"].value = 3
    assert "workbench, 3 warm" in panel.table.value
    assert panel.errors == []
