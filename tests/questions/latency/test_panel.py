"""The panels of a change of latency and of the fault suite, by driving their controls; the confirming load is sent to a real server."""

from dataclasses import replace

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.apparatus.network_proxy import NetworkProxy, Way
from workbench.jobs.manager import JobManager
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run as measure_load
from workbench.questions.latency.faults.panel import FaultsPanel
from workbench.questions.latency.panel import LatencyPanel

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield LatencyPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    ipywidgets.Widget.close_all()


def label_of(panel, text):
    return next(v for name, v in panel.controls["current"].options if text in name)


def test_a_measured_pair_is_shown_with_its_cause_and_the_evidence(panel):
    assert "(probability" in panel.answer.value
    assert "Users notice" in panel.answer.value
    titles = [t.split("<br>")[0] for t in figure_titles(panel)]
    assert titles == ["<b>Change of latency by part</b>", "<b>TTFT</b>"]
    assert "evidence against it" in panel.table.value
    assert "Press Confirm" in panel.tabs_html[1].value
    assert not panel.job_bar.run.disabled
    panel.controls["latency"].value = "e2e"
    assert "End-to-end latency" in figure_titles(panel)[1]
    baseline, current = (panel.state.asked[name] for name in ("baseline", "current"))
    assert f"workbench diagnose --baseline {baseline} --current {current} --confirm" in panel.tabs_html[2].value
    assert f"baseline=&#39;{baseline}&#39;" in panel.tabs_html[3].value
    assert panel.errors == []


def test_the_same_load_twice_has_nothing_to_explain(panel):
    panel.controls["current"].value = panel.state.asked["baseline"]
    assert "Users notice no change" in panel.answer.value
    assert panel.job_bar.run.disabled
    assert "nothing to confirm" in panel.tabs_html[1].value
    assert panel.errors == []


def test_a_slow_way_is_named_and_confirmed_by_a_click(tmp_path):
    manager = JobManager(tmp_path / "home")
    with (
        MockProcess(MockSettings(ttft_s=0.02, itl_s=0.005)) as mock,
        NetworkProxy(mock.port, Way(delay_s=0.12)) as proxy,
    ):
        spec = LoadSpec(
            url=mock.url,
            model=mock.settings.model,
            rate_per_s=24,
            duration_s=2,
            output_tokens=16,
            calibrate=False,
            probe=True,
        )
        healthy, slow = measure_load(spec), measure_load(replace(spec, url=proxy.url, seed=1))
        for load in (healthy, slow):
            manager.store.add(load)
        panel = LatencyPanel(manager, poll_s=0.05)
        panel.controls["baseline"].value = healthy.id
        panel.controls["current"].value = slow.id
        assert "The network between client and server takes longer" in panel.answer.value
        panel.job_bar.run.click()
        wait_for(lambda: "Confirmed:" in panel.answer.value)
        wait_for(lambda: "Confirmed." in panel.tabs_html[1].value)  # tabs come after the answer
        assert panel.errors == []
    panel.job_bar.run.click()  # the server is gone: it says so, and nothing is lost
    wait_for(lambda: "did not run" in panel.answer.value)
    assert panel.state.asked["baseline"] == healthy.id
    ipywidgets.Widget.close_all()


def test_an_empty_home_without_examples_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.questions.latency.panel.SHIPPED", tmp_path)
    panel = LatencyPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    assert "no two loads" in panel.answer.value
    assert panel.job_bar.run.disabled
    ipywidgets.Widget.close_all()


def test_the_fault_suite_is_scored_and_each_load_can_be_seen(tmp_path):
    panel = FaultsPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    assert "The true cause was named in" in panel.answer.value
    assert "not used for tuning" in panel.answer.value
    for name in ("workbench", "static thresholds", "FAQ&#39;s checks", "N-sigma"):
        assert name in panel.table.value
    first = panel.beside.value
    panel.controls["episode"].value = 3
    assert panel.beside.value != first
    assert "True cause" in panel.beside.value
    panel.controls["faults"].value = ("surge", "slow network")
    assert "faults --only &#39;surge,slow network&#39;" in panel.tabs_html[2].value
    panel.controls["engine"].value = "vllm"
    assert "not available for vllm" in panel.controls["faults"].buttons["slow tokenizer"].tooltip
    assert panel.errors == []
    ipywidgets.Widget.close_all()
