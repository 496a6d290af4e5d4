"""The panels of techniques and of days of samples, by driving their controls."""

import time

import ipywidgets
import numpy as np
import pytest

from workbench.core.samples import Signal
from workbench.jobs.manager import JobManager
from workbench.panels.days import DaysPanel
from workbench.panels.techniques import TechniquesPanel
from workbench.store.history import History, history_folder
from workbench.testing.waiting import figure_titles, wait_for

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def test_gains_stand_beside_what_is_claimed(manager):
    panel = TechniquesPanel(manager, poll_s=0.05)
    assert "gains most here" in panel.answer.value
    on_a_processor = next(r for r in panel.runs if not r.environment.driver)
    panel.controls["run_id"].value = on_a_processor.id
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>What each technique gains here</b>",
        "<b>Where a step's time goes</b>",
    ]
    assert "CUDA graphs need an NVIDIA GPU" in panel.table.value
    assert "dynamic batching" in panel.tabs_html[0].value
    assert "bound by" in panel.tabs_html[1].value
    panel.controls["only"].value = "precision"
    assert "--only precision" in panel.tabs_html[2].value
    assert panel.errors == []


def test_a_week_of_eight_gpus_is_drawn_at_the_grain_that_fits(manager):
    signals = [
        Signal(name=f"gpu{g}.{q}", unit="", label=q) for g in range(8) for q in ("utilisation_percent", "power_w")
    ]
    history = History(history_folder(manager.home, "eight"), signals)
    at = 1.79e9 + np.arange(0, 2 * 86400.0)
    history.append_many(at, np.full((at.size, len(signals)), 50.0, dtype=np.float32))
    panel = DaysPanel(manager, poll_s=0.05)
    panel.controls["what"].value = "GPUs"
    began = time.perf_counter()
    panel.controls["span"].value = "week"
    assert time.perf_counter() - began < 10
    assert "GPU 0 with a kernel 50 % of the time" in panel.answer.value
    assert "GPUs: the last" in figure_titles(panel)[0]
    assert "gpu7.power_w" in panel.tabs_html[0].value
    panel.controls["what"].value = "server"
    assert "no signals of" in panel.table.value
    assert panel.errors == []


def test_days_are_recorded_and_drawn_meanwhile(manager):
    panel = DaysPanel(manager, poll_s=0.05)
    assert "No history was recorded yet" in panel.answer.value
    panel.controls["days"].value = 6 / 86400
    panel.job_bar.run.click()
    wait_for(lambda: "busiest core" in panel.answer.value, 60)
    assert panel.state.name == "this-machine"
    wait_for(lambda: "DONE" in str(manager.views("recording")[0].state).upper(), 60)
    again = DaysPanel(manager, poll_s=0.05)
    assert "this-machine" in again.header.value
    assert "host.cpu_percent" in again.tabs_html[0].value
    assert again.errors == panel.errors == []


def test_odd_names_and_broken_histories_are_told(manager):
    panel = DaysPanel(manager, poll_s=0.05)
    panel.controls["into"].value = "../out"
    assert "is no name" in panel.tabs_html[1].value
    folder = history_folder(manager.home, "broken")
    folder.mkdir(parents=True)
    (folder / "signals.json").write_text("{")
    broken = DaysPanel(manager, poll_s=0.05)
    assert "cannot be read" in broken.answer.value
    assert broken.errors == []
