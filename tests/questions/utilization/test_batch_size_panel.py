"""The panel of the batch search, with a real search in a child process."""

import threading

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.jobs.manager import JobManager
from workbench.questions.utilization.batch_size.panel import BatchPanel

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield BatchPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    ipywidgets.Widget.close_all()


def test_a_search_answers_with_a_batch_and_goes_stale_when_a_limit_changes(panel):
    assert "stale" not in panel.answer.value
    for name, value in (("largest", 3), ("rounds", 3), ("context_tokens", 8)):
        panel.controls[name].value = value
    panel.job_bar.run.click()
    wait_for(lambda: panel.errors or (panel.run.spec["largest"] == 3 and "stale" not in panel.answer.value), 240)
    assert panel.errors == []
    assert "tokens/s" in panel.answer.value
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>Throughput and step time by batch size</b>",
        "<b>Peak memory, predicted and measured</b>",
    ]
    assert "fits" in panel.table.value
    panel.controls["latency_ms"].value = "5"
    assert "stale" in panel.answer.value
    assert "--latency-ms 5 --largest 3 --rounds 3" in panel.tabs_html[1].value
    panel.controls["latency_ms"].value = ""
    assert "stale" not in panel.answer.value
    assert panel.errors == []


def test_a_model_that_is_none_is_refused_before_a_job_starts(panel):
    panel.controls["model"].value = "/nowhere"
    panel.job_bar.run.click()
    wait_for(lambda: "There is no model at /nowhere" in panel.message.value)
    assert panel.errors == []


def test_a_choice_made_while_a_job_draws_is_not_lost(panel):
    """A job's thread is in the middle of drawing when the reader changes a control."""
    entered, go_on = threading.Event(), threading.Event()
    shown = panel.show_rest

    def slowly(view):
        shown(view)
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            go_on.wait(60)

    panel.show_rest = slowly
    drawing = panel.in_background(panel.draw)
    assert entered.wait(60)
    threading.Timer(0.2, go_on.set).start()
    panel.controls["largest"].value = 99
    drawing.join(60)
    assert panel.state.asked["largest"] == panel.controls["largest"].value == 99
    assert panel.errors == []
