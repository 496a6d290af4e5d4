"""Watching, writing and checking rules, and recording, from the command line."""

import json
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from workbench.cli.main import app
from workbench.testing.page_server import page_server, replying

PAGE = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 1.0
"""


@contextmanager
def server():
    with page_server(replying(PAGE)) as httpd:
        yield f"http://127.0.0.1:{httpd.server_port}"


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))


def test_rules_are_printed_for_prometheus_and_grafana():
    assert len(json.loads(call("rules").output)["groups"][0]["rules"]) == 10
    made = json.loads(call("rules", "--for", "grafana", "--ttft", "0.25").output)
    assert len(made["panels"]) == 10
    assert call("rules", "--for", "excel").exit_code != 0


def test_a_watch_ends_after_its_looks_and_says_what_fires():
    with server() as url:
        done = call("monitor", url, "--interval", "0.05", "--looks", "3")
    assert done.exit_code == 0
    assert "firing: nothing" in done.output
    assert "is not a URL" in call("monitor", "localhost").output


def test_a_dashboard_is_checked_against_a_live_page(tmp_path):
    good, old, none = tmp_path / "good.json", tmp_path / "old.yml", tmp_path / "none.json"
    good.write_text('{"panels": [{"title": "a", "targets": [{"expr": "vllm:num_requests_running"}]}]}')
    old.write_text("groups:\n- rules:\n  - alert: Gone\n    expr: vllm:gpu_cache_usage_perc > 0.9\n")
    none.write_text("{}")
    with server() as url:
        assert call("lint-metrics", str(good), url).exit_code == 0
        told = call("lint-metrics", str(old), url, "--json")
        assert told.exit_code == 1
        assert json.loads(told.output)["missing"] == {"Gone": ["vllm:gpu_cache_usage_perc"]}
        assert "has no expressions" in " ".join(call("lint-metrics", str(none), url).output.split())
    assert "cannot be read" in " ".join(call("lint-metrics", str(good), "http://127.0.0.1:9").output.split())


def test_a_recording_is_kept_and_the_shipped_one_explained():
    told = call("record", "--seconds", "2", "--json")
    made = json.loads(told.output[told.output.index("{") :])
    assert made["span_s"] > 1
    shipped = json.loads(call("why-idle", "55b29db3350b", "--json").output)
    (gpu,) = shipped["gpus"]
    assert shipped["device"].startswith("NVIDIA H100")
    assert sum(x["fraction"] for x in gpu["losses"]) + gpu["achieved_fraction"] == pytest.approx(1.0)
    assert "no recording nothing" in call("why-idle", "nothing").output


def test_two_loads_are_compared_by_part_and_causes_ranked():
    from workbench.catalog.paths import MEASURED

    files = [str(MEASURED / f"load_llama-3.1-8b-shape_conv-{share}-percent_h100.json") for share in (80, 95)]
    told = json.loads(call("diagnose", "--baseline", files[0], "--current", files[1], "--json").output)
    assert sum(told["parts"]["by_part_s"].values()) == pytest.approx(told["parts"]["change_s"])
    assert told["parts"]["by_part_s"]["queue"] > 0.3
    assert told["alarm"]
    assert told["causes"][0]["key"] == "surge"  # a fifth more requests, near saturation
    text = call("diagnose", "--baseline", "55b29db3350b", "--current", files[1]).output
    assert "users notice" in text
    assert "queue" in text
    same = call("diagnose", "--baseline", files[0], "--current", files[0]).output
    assert "users notice no change" in same
    assert call("diagnose", "--baseline", "nothing", "--current", files[1]).exit_code != 0


def test_faults_are_listed_and_odd_wishes_refused():
    text = call("faults", "--list").output
    assert "salted prefixes" in text
    assert "none: healthy" in text
    assert "no known doses" in " ".join(call("faults", "--doses", "huge").output.split())
    assert "no technique magic" in " ".join(call("techniques", "--only", "magic").output.split())


def test_a_watch_tells_groups_to_its_callbacks_and_serves_its_own_page(tmp_path):
    """A server that is gone: one message about the group, nothing about what is silenced."""
    told = tmp_path / "told.jsonl"
    options = ["--interval", "0.05", "--looks", "12", "--patience", "0.1", "--serve", "0"]
    command = f"sh -c 'cat >> {told}; echo >> {told}'"
    done = call(
        "monitor", "http://127.0.0.1:9", *options, "--group-by", "severity", "--group-wait", "0", "--run", command
    )
    assert done.exit_code == 0, done.output
    assert "NoMetrics firing" in done.output
    rows = [json.loads(line) for line in told.read_text().splitlines() if line.strip()]
    assert [e["rule"] for r in rows for e in r["firing"]] == ["NoMetrics"]
    told.unlink()
    hushed = call("monitor", "http://127.0.0.1:9", *options, "--silence", "alertname=No*@3600", "--run", command)
    assert "NoMetrics firing (silenced)" in hushed.output
    assert not told.exists()
    assert "is no silence" in call("monitor", "http://127.0.0.1:9", "--silence", "everything").output
