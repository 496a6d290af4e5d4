"""The panel of the batch search, with a real search in a child process."""

import threading

import ipywidgets
import pytest

from workbench.jobs.manager import JobManager
from workbench.panels.batch_search import BatchPanel
from workbench.testing.waiting import figure_titles, wait_for

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield BatchPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    ipywidgets.Widget.close_all()


def test_a_search_answers_with_a_batch_and_goes_stale_when_the_wish_changes(panel):
    panel.controls["largest"].value = 12
    panel.job_bar.run.click()
    wait_for(lambda: panel.runs and panel.runs[0].spec["largest"] == 12 and panel.state.run_id == panel.runs[0].id, 120)
    wait_for(lambda: panel.errors or len(figure_titles(panel)) == 2, 20)
    assert panel.errors == []
    assert "sequences/s" in panel.answer.value
    assert "stale" not in panel.answer.value
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>Throughput and step by batch</b>",
        "<b>Memory, predicted and measured</b>",
    ]
    assert "fits" in panel.table.value
    panel.controls["latency_ms"].value = 5.0
    assert "stale" in panel.answer.value
    assert "--latency-ms 5" in panel.tabs_html[1].value
    assert panel.errors == []


def test_a_model_that_is_none_is_told_before_a_job_starts(panel):
    panel.controls["model"].value = "/nowhere"
    panel.job_bar.run.click()
    wait_for(lambda: "There is no model at /nowhere" in panel.message.value, 20)
    assert panel.errors == []


def test_a_choice_made_while_a_job_draws_is_not_lost(panel):
    """A job's thread is in the middle of drawing when the reader changes a control."""
    entered, go_on = threading.Event(), threading.Event()
    shown = panel.show_rest

    def slowly(view):
        shown(view)
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            go_on.wait(10)

    panel.show_rest = slowly
    drawing = panel.in_background(panel.draw)
    assert entered.wait(10)
    threading.Timer(0.2, go_on.set).start()
    panel.controls["largest"].value = 99
    drawing.join(10)
    assert panel.state.largest == panel.controls["largest"].value == 99
    assert panel.errors == []
