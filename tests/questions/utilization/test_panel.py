"""The panel of a GPU's time, by driving its controls; recording is real, of this machine, or comes second by second from the test."""

import base64
import threading

import ipywidgets
import numpy as np
import pytest
from support.waiting import figure_titles, wait_for

from workbench.core.rows import plain
from workbench.jobs.directory import JobState, JobView
from workbench.jobs.manager import JobManager
from workbench.questions.utilization.panel import LIVE, UtilizationPanel
from workbench.telemetry.samples import Recording, Signal

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    made = UtilizationPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    yield made
    ipywidgets.Widget.close_all()


def second(n, job_id="a"):
    """A running recording after n seconds, with the samples of the last."""
    names = ("gpu3.utilisation_percent", "host.cpu_percent")
    recording = Recording(
        signals={name: Signal(name=name, unit="%", label=name) for name in names},
        times_s={name: np.linspace(n - 1, n, 11) for name in names},
        values={name: np.full(11, 50.0) for name in names},
    )
    result = plain(recording.sampled())
    return JobView(
        id=job_id, kind="recording", spec={}, state=JobState.RUNNING, created_at="", done=n, total=60, result=result
    )


def n_samples(panel):
    """Points of the first line of the lowest plot."""
    x = panel.plots[1].outputs[0]["data"]["application/vnd.plotly.v1+json"]["data"][0]["x"]
    return np.frombuffer(base64.b64decode(x["bdata"]), x["dtype"]).size


def test_a_recorded_gpu_is_shown_as_such_and_its_time_split(panel):
    assert "tensor cores were at work" in panel.answer.value
    assert "the largest loss is" in panel.answer.value
    assert "measured on NVIDIA H100" in panel.header.value
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>Losses of GPU time</b>",
        "<b>Samples over time</b>",
    ]
    assert "clock below the highest" in panel.table.value
    assert "held down by the power limit" in panel.table.value
    assert "per request that met the SLO" in panel.tabs_html[0].value
    assert "engine.num_requests_running" in panel.tabs_html[1].value
    assert "workbench why-idle" in panel.tabs_html[2].value
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


def test_samples_are_drawn_as_they_come_and_of_a_new_recording_anew(panel):
    panel.progressed(second(1))
    assert panel.state.run_id == panel.controls["run_id"].value == LIVE
    assert panel.state.gpu == panel.controls["gpu"].value == "gpu3"
    assert "on this machine, now" in panel.header.value
    panel.progressed(second(2))
    assert n_samples(panel) == 21  # the sample at the border is there once
    panel.progressed(second(2))
    assert n_samples(panel) == 21
    panel.progressed(second(1, job_id="b"))
    assert n_samples(panel) == 11
    assert panel.errors == []


def test_a_run_that_is_chosen_while_samples_come_stays(panel):
    panel.progressed(second(1))
    chosen = panel.runs[1].id
    panel.controls["run_id"].value = chosen
    panel.progressed(second(2))
    assert panel.state.run_id == panel.controls["run_id"].value == chosen
    assert "NVIDIA H100" in panel.header.value
    panel.controls["run_id"].value = LIVE
    assert n_samples(panel) == 21  # what came meanwhile is there
    panel.controls["run_id"].value = chosen
    panel.finished(second(3))
    assert panel.state.run_id == panel.controls["run_id"].value == chosen
    assert LIVE not in [value for _, value in panel.controls["run_id"].options]
    assert panel.errors == []


@pytest.mark.parametrize(
    ("control", "value", "kept"),
    [("request", "middle", lambda p: p.state.request), ("rate_hz", 5.0, lambda p: p.state.asked["rate_hz"])],
)
def test_a_choice_made_while_samples_are_drawn_is_not_lost(panel, control, value, kept):
    """A job's thread is in the middle of drawing the newest samples when the reader changes a control."""
    entered, go_on = threading.Event(), threading.Event()
    shown = panel.show_rest

    def slowly(view):
        shown(view)
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            go_on.wait(60)

    panel.show_rest = slowly
    drawing = panel.in_background(panel.progressed, second(1))
    assert entered.wait(60)
    threading.Timer(0.2, go_on.set).start()
    panel.controls[control].value = value
    drawing.join(60)
    assert kept(panel) == panel.controls[control].value == value
    assert panel.state.run_id == LIVE
    assert panel.errors == []


def test_this_machine_is_recorded_live_and_kept(panel):
    panel.controls["duration_s"].value = 2.0
    panel.job_bar.run.click()
    wait_for(lambda: panel.state.run_id == LIVE, 120)
    wait_for(lambda: "now" in panel.header.value)
    wait_for(
        lambda: panel.state.run_id not in {None, LIVE} and "recording of" in str(panel.controls["run_id"].options[0]),
        60,
    )
    wait_for(lambda: "run " in panel.header.value)
    assert "Samples over time" in figure_titles(panel)[-1]
    assert "host.cpu_percent" in panel.tabs_html[1].value
    if "No GPU was sampled" in panel.answer.value:
        assert "NVML" in panel.answer.value
    assert panel.errors == []


def test_a_recording_that_is_cancelled_leaves_the_panel_usable(panel):
    panel.controls["duration_s"].value = 600.0
    panel.job_bar.run.click()
    wait_for(lambda: panel.state.run_id == LIVE, 120)
    panel.job_bar.cancel.click()
    wait_for(lambda: "Cancelled" in panel.message.value)
    panel.controls["run_id"].value = panel.runs[0].id
    assert "tensor cores were at work" in panel.answer.value
    assert panel.errors == []


def test_what_is_no_url_is_refused_before_a_job_starts(panel):
    panel.controls["url"].value = "localhost:8000"
    assert "is not a URL" in panel.tabs_html[2].value
    panel.job_bar.run.click()
    wait_for(lambda: "is not a URL" in panel.message.value)
    assert panel.manager.views("recording") == []
    panel.controls["url"].value = ""
    assert panel.message.value == "<div class='wb'></div>"
    assert panel.errors == []
