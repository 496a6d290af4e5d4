"""The panels of rollouts and of judges, by driving their controls."""

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.jobs.manager import JobManager
from workbench.questions.rollout.odds.panel import OddsPanel
from workbench.questions.rollout.panel import RolloutPanel

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def titles(panel):
    return [t.split("<br>")[0].removeprefix("<b>").removesuffix("</b>") for t in figure_titles(panel)]


def test_rollouts_are_shown_with_their_evidence(manager):
    panel = RolloutPanel(manager, poll_s=0.05)
    assert "rollouts ended as they should" in panel.answer.value
    assert titles(panel) == ["Users on the new version", "Evidence against the new version"]
    assert "disagreement" in panel.tabs_html[0].value
    assert "[rollout]" in panel.tabs_html[1].value
    panel.controls["scenarios"].value = ("slow",)
    assert "--scenarios slow" in panel.tabs_html[2].value
    panel.controls["scenarios"].value = ()
    assert "No new version is chosen" in panel.tabs_html[3].value
    panel.job_bar.run.click()
    wait_for(lambda: "No new version is chosen" in panel.message.value)
    assert panel.errors == []


def test_judges_err_as_often_as_is_drawn(manager):
    panel = OddsPanel(manager, poll_s=0.05)
    assert titles(panel) == ["Rollouts that are rolled back"]
    assert "△ simulated" in panel.header.value
    before = panel.table.value
    panel.controls["new_rate"].value = 1.0
    assert panel.table.value != before
    assert "--new-rate 1" in panel.tabs_html[1].value
    assert panel.errors == []
