"""The panel of replicas in reserve, by driving its controls, and what the simulation's panel says of its runs."""

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.jobs.manager import JobManager
from workbench.questions.surge.scaling.panel import ScalingPanel
from workbench.questions.surge.standby.panel import StandbyPanel

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def test_the_shipped_runs_are_shown_and_controls_become_the_command(manager):
    panel = StandbyPanel(manager, poll_s=0.05)
    shown = [value for _, value in panel.controls["run_id"].options]
    assert shown
    for run_id in shown:
        panel.controls["run_id"].value = run_id
        assert "answers after" in panel.answer.value
        assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
            "<b>From the decision to the first token</b>",
            "<b>Memory held while waiting</b>",
        ]
        assert "first cold start" in panel.table.value
        assert "preparing the engine" in panel.tabs_html[1].value
        assert "workbench scaling --start-s" in panel.tabs_html[2].value
        assert "/wake_up" in panel.tabs_html[3].value
    panel.controls["repeats"].value = 7
    panel.controls["cold"].value = 4
    panel.controls["flags"].value = "--load-format=dummy; --max-num-seqs=8"
    command = panel.tabs_html[4].value
    assert "--repeats 7" in command
    assert "--cold 4" in command
    assert "--flag=--max-num-seqs=8" in command.replace("--flag ", "--flag=")
    assert panel.errors == []


def test_a_model_that_is_none_is_refused_before_a_job(manager):
    panel = StandbyPanel(manager, poll_s=0.05)
    panel.controls["model"].value = "/no/such/folder"
    panel.job_bar.run.click()
    wait_for(lambda: "wb-message failure" in panel.message.value)
    assert panel.errors == []


def test_the_simulation_names_the_runs_that_measured_a_start(manager):
    panel = ScalingPanel(manager, poll_s=0.05)
    newest = StandbyPanel(manager, poll_s=0.05).runs[0]
    assert newest.id in panel.table.value
    assert "--start-s" in panel.table.value
