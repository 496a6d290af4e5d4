"""Watching, writing and checking rules, and recording, from the command line."""

import json
from contextlib import contextmanager

import pytest
from support.page_server import page_server, replying
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.engines.server_metrics import ServerMetrics

PAGE = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 1.0
"""


@contextmanager
def server(page=PAGE):
    with page_server(replying(page)) as httpd:
        yield f"http://127.0.0.1:{httpd.server_port}"


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))


def test_rules_are_printed_for_prometheus_and_grafana():
    assert len(json.loads(call("rules").output)["groups"][0]["rules"]) == 10
    board = json.loads(call("rules", "--for", "grafana", "--ttft", "0.25").output)
    assert len(board["panels"]) == 10
    assert call("rules", "--for", "excel").exit_code != 0


def test_a_watch_ends_after_its_evaluations_and_says_what_fires():
    with server() as url:
        done = call("monitor", url, "--interval", "0.05", "--evaluations", "3")
    assert done.exit_code == 0
    assert "firing: no rule" in done.output
    assert "is not a URL" in call("monitor", "localhost").output


def test_the_prefix_of_the_metrics_is_found_on_the_page_or_given():
    with server(ServerMetrics(dict).page()) as url:  # our own server's, with an engine that has no queue
        detected = call("monitor", url, "--interval", "0.05", "--evaluations", "3", "--patience", "0")
        given = call("monitor", url, "--interval", "0.05", "--duration", "0.1", "--prefix", "vllm:")
    assert (detected.exit_code, given.exit_code) == (0, 0)
    assert "firing: no rule" in detected.output
    assert "was read" not in detected.output
    assert "has no known metrics that begin with vllm:" in " ".join(given.output.split())
    assert "cannot be read" not in given.output


def test_a_dashboard_is_checked_against_a_live_page(tmp_path):
    good, old, none = tmp_path / "good.json", tmp_path / "old.yml", tmp_path / "none.json"
    good.write_text('{"panels": [{"title": "a", "targets": [{"expr": "vllm:num_requests_running"}]}]}')
    old.write_text("groups:\n- rules:\n  - alert: Gone\n    expr: vllm:gpu_cache_usage_perc > 0.9\n")
    none.write_text("{}")
    with server() as url:
        assert call("lint-metrics", str(good), url).exit_code == 0
        checked = call("lint-metrics", str(old), url, "--json")
        assert checked.exit_code == 1
        assert json.loads(checked.output)["missing"] == {"Gone": ["vllm:gpu_cache_usage_perc"]}
        assert "has no expressions" in " ".join(call("lint-metrics", str(none), url).output.split())
    assert "cannot be read" in " ".join(call("lint-metrics", str(good), "http://127.0.0.1:9").output.split())


def test_a_recording_is_kept_and_the_shipped_one_explained():
    recorded = call("record", "--seconds", "2", "--json")
    summary = json.loads(recorded.output[recorded.output.index("{") :])
    assert summary["span_s"] > 1
    shipped = json.loads(call("why-idle", "55b29db3350b", "--json").output)
    (gpu,) = shipped["gpus"]
    assert shipped["device"].startswith("NVIDIA H100")
    assert sum(x["fraction"] for x in gpu["losses"]) + gpu["achieved_fraction"] == pytest.approx(1.0)
    assert "no recording nothing" in call("why-idle", "nothing").output


def test_odd_techniques_are_refused():
    assert "Unknown techniques: magic" in " ".join(call("techniques", "--only", "magic").output.split())


def test_a_watch_sends_groups_to_its_callbacks_and_serves_its_own_page(tmp_path):
    """A server that is gone: one message about the group, nothing about a suppressed alert."""
    received = tmp_path / "received.jsonl"
    options = ["--interval", "0.05", "--evaluations", "12", "--patience", "0.1", "--serve", "0"]
    command = f"sh -c 'cat >> {received}; echo >> {received}'"
    done = call(
        "monitor", "http://127.0.0.1:9", *options, "--group-by", "severity", "--group-wait", "0", "--run", command
    )
    assert done.exit_code == 0, done.output
    assert "NoMetrics firing" in done.output
    rows = [json.loads(line) for line in received.read_text().splitlines() if line.strip()]
    assert [e["rule"] for r in rows for e in r["firing"]] == ["NoMetrics"]
    received.unlink()
    suppressed = call("monitor", "http://127.0.0.1:9", *options, "--silence", "alertname=No*@3600", "--run", command)
    assert "NoMetrics firing (suppressed)" in suppressed.output
    assert not received.exists()
    assert "is no silence" in call("monitor", "http://127.0.0.1:9", "--silence", "everything").output
