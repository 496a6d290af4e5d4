"""The panel over days of samples, by driving its controls."""

import ipywidgets
import numpy as np
import pytest
from support.waiting import figure_titles, wait_for

from workbench.jobs.directory import JobState, JobView
from workbench.jobs.manager import JobManager
from workbench.questions.utilization.days.findings import PARTS
from workbench.questions.utilization.days.panel import DaysPanel
from workbench.telemetry.history import History, history_folder
from workbench.telemetry.samples import Signal

pytestmark = pytest.mark.usefixtures("strict")
START_S = 1.79e9


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def history_of(manager, name, *, seconds=60, quantities=("host.busiest_core_percent",)):
    signals = [Signal(name=q, unit="%", label=q) for q in quantities]
    history = History(history_folder(manager.home, name), signals)
    at = START_S + np.arange(float(seconds))
    history.append_many(at, np.full((at.size, len(signals)), 50.0, dtype=np.float32))
    return history


def recording(manager, name, done):
    """A running job that records into a history."""
    spec = {"history": str(history_folder(manager.home, name))}
    return JobView(id="a", kind="recording", spec=spec, state=JobState.RUNNING, created_at="", done=done, total=60)


def test_two_days_of_eight_gpus_are_drawn_at_the_grain_that_fits(manager):
    quantities = [f"gpu{g}.{q}" for g in range(8) for q in ("utilisation_percent", "power_w")]
    history_of(manager, "eight", seconds=2 * 86400, quantities=quantities)
    panel = DaysPanel(manager, poll_s=0.05)
    panel.controls["what"].value = "GPUs"
    panel.controls["span"].value = "week"
    lines = panel.plots[0].outputs[0]["data"]["application/vnd.plotly.v1+json"]["data"]
    assert len(lines) == 2 * len(quantities)  # mean and band
    assert all(len(line["x"]) <= 2 * (PARTS + 1) for line in lines)
    assert "GPU 0 ran a kernel 50 % of the time" in panel.answer.value
    assert "288 intervals of 10 min 0 s are drawn" in panel.answer.value
    assert "GPUs: the last 47 h 59 min" in figure_titles(panel)[0]
    assert "gpu7.power_w" in panel.tabs_html[0].value
    panel.controls["what"].value = "server"
    assert "no signals of" in panel.table.value
    assert panel.errors == []


def test_days_are_recorded_and_drawn_meanwhile(manager):
    panel = DaysPanel(manager, poll_s=0.05)
    assert "No history was recorded yet" in panel.answer.value
    panel.controls["days"].value = 6 / 86400
    panel.job_bar.run.click()
    wait_for(lambda: "busiest core" in panel.answer.value, 120)
    assert panel.state.name == "this-machine"
    wait_for(lambda: manager.views("recording")[0].state is JobState.DONE)
    again = DaysPanel(manager, poll_s=0.05)
    assert "this-machine" in again.header.value
    assert "host.cpu_percent" in again.tabs_html[0].value
    assert again.errors == panel.errors == []


def test_a_history_that_is_chosen_while_another_grows_stays(manager):
    history_of(manager, "old")
    panel = DaysPanel(manager, poll_s=0.05)
    grown = history_of(manager, "today")
    panel.progressed(recording(manager, "today", 1))
    assert panel.state.name == panel.controls["name"].value == "today"
    grown.append(START_S + 60, {"host.busiest_core_percent": 90.0})
    panel.progressed(recording(manager, "today", 2))
    assert "90 % at most" in panel.answer.value
    panel.controls["name"].value = "old"
    panel.progressed(recording(manager, "today", 3))
    panel.finished(recording(manager, "today", 4))
    assert panel.state.name == panel.controls["name"].value == "old"
    assert "in old" in panel.header.value
    assert panel.errors == []


def test_the_command_names_the_history_and_the_code_its_folder(manager):
    panel = DaysPanel(manager, poll_s=0.05)
    panel.controls["into"].value = "box-7"
    assert "workbench record --seconds 604800 --rate 1 --days box-7" in panel.tabs_html[1].value
    assert str(history_folder(manager.home, "box-7")) in panel.tabs_html[2].value
    panel.controls["into"].value = "../out"
    assert "is no name" in panel.tabs_html[1].value
    assert panel.errors == []


def test_a_history_that_is_broken_or_gone_says_so(manager):
    folder = history_folder(manager.home, "broken")
    folder.mkdir(parents=True)
    about = folder / "signals.json"
    about.write_text("{")
    panel = DaysPanel(manager, poll_s=0.05)
    assert "cannot be read" in panel.answer.value
    about.unlink()
    panel.controls["span"].value = "day"
    assert "is no history of samples" in panel.answer.value
    assert panel.errors == []
