"""The monitoring panel: measured loads in retrospect, a live server that goes away, and servers with other names of metrics."""

from itertools import count

import ipywidgets
import pytest
from support.page_server import page_server, replying
from support.waiting import figure_titles, wait_for

from workbench.engines.server_metrics import CONFIG, ENGINE_COUNTERS, ServerMetrics
from workbench.jobs.manager import JobManager
from workbench.questions.monitoring.panel import MonitoringPanel

pytestmark = pytest.mark.usefixtures("strict")
PAGE = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 1.0\n'
GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", *CONFIG)
OWN_PAGE = ServerMetrics(lambda: dict.fromkeys((*GAUGES, *(f"{name}_total" for name in ENGINE_COUNTERS)), 0.0)).page()


@pytest.fixture
def panel(tmp_path):
    yield MonitoringPanel(JobManager(tmp_path / "home"), poll_s=0.05, patience_s=20.0, interval_s=5.0)
    ipywidgets.Widget.close_all()


def is_kept(panel):
    """Whether the watch has ended and is shown; its downloads are drawn last."""
    return panel.run is not None and f"monitoring_{panel.run.id}" in panel.tabs_html[-1].value


def watch_for(panel, url, *, seconds, patience):
    """Press Run with these choices, and wait for the first evaluation."""
    choices = {"patience_s": patience, "interval_s": 0.5, "duration_s": seconds, "url": url}
    for name, value in choices.items():
        panel.controls[name].value = value
    panel.job_bar.run.click()
    wait_for(lambda: panel._live or is_kept(panel), 120)


def test_an_overloaded_server_is_reported_and_a_looser_slo_is_met(panel):
    assert "measured on NVIDIA H100" in panel.header.value
    assert "TtftHigh" in panel.answer.value
    assert "RequestsQueued" in panel.tabs_html[0].value
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>Pending and firing rules</b>",
        "<b>TtftHigh: value and threshold</b>",
    ]
    assert "no data" in panel.table.value  # gaps between tokens were not kept
    panel.controls["rule"].value = "RequestsQueued"
    assert "RequestsQueued: value" in figure_titles(panel)[1]
    panel.controls["ttft"].value = "5.0"
    panel.controls["objective"].value = 0.9
    assert "ErrorBudgetBurnFast" not in panel.tabs_html[0].value
    assert "rules --ttft 5.0 --objective 0.9 --patience 20 &gt; rules.yml" in panel.tabs_html[1].value
    assert "5.0" in panel.tabs_html[1].value.split("rules.yml")[1]
    assert "lint-metrics dashboard.json http://localhost:8000" in panel.tabs_html[2].value
    assert panel.errors == []


def test_a_server_is_watched_live_until_it_is_gone(panel):
    asked = count()

    def answer(handler):
        """Three evaluations see a page, the others an error."""
        replying(PAGE, 200 if next(asked) < 3 else 500)(handler)

    with page_server(answer) as httpd:
        watch_for(panel, f"http://127.0.0.1:{httpd.server_port}", seconds=8.0, patience=1.0)
        wait_for(lambda: panel.controls["run_id"].options[0] == ("● now", None) or is_kept(panel))
        wait_for(lambda: is_kept(panel), 120)
    evaluations = panel.runs[0].samples.evaluations
    assert [bool(e.problem) for e in evaluations] == [i >= 3 for i in range(len(evaluations))]
    assert evaluations[2].firing == []
    assert evaluations[-1].firing == ["NoMetrics"]
    assert "NoMetrics" in panel.tabs_html[0].value
    assert "NoMetrics" in panel.table.value
    assert "The server cannot be read" in panel.answer.value
    assert panel.errors == []


def test_our_own_server_is_watched_by_the_names_on_its_page(panel):
    with page_server(replying(OWN_PAGE)) as httpd:
        watch_for(panel, f"http://127.0.0.1:{httpd.server_port}", seconds=2.0, patience=0.0)
        wait_for(lambda: is_kept(panel), 120)
    assert "The service is healthy: none of 10 rules fired" in panel.answer.value
    assert "--prefix workbench: &gt; rules.yml" in panel.tabs_html[1].value
    assert "workbench:num_requests_under_way" in panel.tabs_html[1].value
    assert "vllm:" not in panel.tabs_html[1].value
    assert panel.errors == []


def test_a_page_without_the_known_names_is_not_called_an_outage(panel):
    panel.controls["prefix"].value = "vllm:"
    with page_server(replying(OWN_PAGE)) as httpd:
        watch_for(panel, f"http://127.0.0.1:{httpd.server_port}", seconds=2.0, patience=0.0)
        wait_for(lambda: is_kept(panel), 120)
    said = panel.answer.value
    assert "It is not known whether the service is healthy: " in said
    assert "was read, but has no known metrics that begin with vllm:" in said
    assert "cannot be read" not in said
    assert "down" not in said
    assert panel.errors == []


def test_odd_wishes_are_refused(panel):
    panel.controls["url"].value = "nowhere"
    assert "is not a URL" in panel.message.value
    assert panel.errors == []
