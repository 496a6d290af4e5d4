"""The panels of a change of latency and of the fault suite, by driving their controls; the confirming load is sent to a real server."""

from dataclasses import replace

import ipywidgets
import pytest

from workbench.core.load import LoadSpec
from workbench.experiments.load import run as measure_load
from workbench.jobs.manager import JobManager
from workbench.panels.faults import FaultsPanel
from workbench.panels.latency import LatencyPanel
from workbench.testing.mock_process import MockProcess
from workbench.testing.mock_server import MockSettings
from workbench.testing.network_proxy import NetworkProxy, Way
from workbench.testing.waiting import figure_titles, wait_for

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield LatencyPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    ipywidgets.Widget.close_all()


def label_of(panel, text):
    return next(v for name, v in panel.controls["current_id"].options if text in name)


def test_a_measured_pair_is_shown_with_its_cause_and_the_evidence(panel):
    assert "of the belief" in panel.answer.value
    assert "Users notice" in panel.answer.value
    titles = [t.split("<br>")[0] for t in figure_titles(panel)]
    assert titles == ["<b>Where the change lies</b>", "<b>Wait for the first token</b>"]
    assert "speaks against it" in panel.table.value
    assert "Press Confirm" in panel.tabs_html[1].value
    assert not panel.job_bar.run.disabled
    panel.controls["latency"].value = "e2e"
    assert "Time of a whole answer" in figure_titles(panel)[1]
    assert panel.errors == []


def test_the_same_load_twice_has_nothing_to_explain(panel):
    panel.controls["current_id"].value = panel.state.baseline_id
    assert "Users notice no change" in panel.answer.value
    assert panel.job_bar.run.disabled
    assert "nothing to confirm" in panel.tabs_html[1].value
    assert panel.errors == []


def test_a_slow_way_is_named_and_confirmed_by_a_click(tmp_path):
    manager = JobManager(tmp_path / "home")
    with (
        MockProcess(MockSettings(ttft_s=0.02, itl_s=0.005)) as mock,
        NetworkProxy(mock.port, Way(delay_s=0.06)) as proxy,
    ):
        spec = LoadSpec(
            url=mock.url,
            model=mock.settings.model,
            rate_per_s=15,
            duration_s=3,
            output_tokens=16,
            calibrate=False,
            probe=True,
        )
        healthy, slow = measure_load(spec), measure_load(replace(spec, url=proxy.url, seed=1))
        for made in (healthy, slow):
            manager.store.add(made)
        panel = LatencyPanel(manager, poll_s=0.05)
        panel.controls["baseline_id"].value = healthy.id
        panel.controls["current_id"].value = slow.id
        assert "The way between client and server takes longer" in panel.answer.value
        panel.job_bar.run.click()
        wait_for(lambda: "Confirmed:" in panel.answer.value, 60)
        wait_for(lambda: "Confirmed." in panel.tabs_html[1].value, 30)  # tabs come after the answer
        assert panel.errors == []
    panel.job_bar.run.click()  # the server is gone: told, and nothing is lost
    wait_for(lambda: "did not run" in panel.answer.value, 60)
    assert panel.state.baseline_id == healthy.id
    ipywidgets.Widget.close_all()


def test_an_empty_home_and_no_examples_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.panels.latency.SHIPPED", tmp_path)
    panel = LatencyPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    assert "no two loads" in panel.answer.value
    assert panel.job_bar.run.disabled
    ipywidgets.Widget.close_all()


def test_the_fault_suite_is_scored_and_each_load_can_be_seen(tmp_path):
    panel = FaultsPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    assert "The true cause was named in" in panel.answer.value
    assert "not used for tuning" in panel.answer.value
    for name in ("workbench", "static thresholds", "FAQ&#x27;s checks", "N-sigma"):
        assert name in panel.table.value
    first = panel.beside.value
    panel.controls["episode"].value = 3
    assert panel.beside.value != first
    assert "True cause" in panel.beside.value
    panel.controls["only"].value = "surge"
    assert "--only &quot;surge&quot;" in panel.tabs_html[2].value
    assert panel.errors == []
    ipywidgets.Widget.close_all()
