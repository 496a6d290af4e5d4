"""What faults are made of: a bad way to a server, and programs in its way; each proves what it did."""

import json
import time
import urllib.error
import urllib.request

import psutil
import pytest

from workbench.core.load import LoadSpec
from workbench.experiments.load import run
from workbench.experiments.observation import observe
from workbench.load.probe import described, probe
from workbench.testing.burden import Burden
from workbench.testing.mock_process import MockProcess
from workbench.testing.mock_server import MockSettings
from workbench.testing.network_proxy import NetworkProxy, Way


@pytest.fixture(scope="module")
def mock():
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.01)) as process:
        yield process


def spec(url, **changes):
    wanted = {"model": "mock", "rate_per_s": 20.0, "duration_s": 2.0, "output_tokens": 20, "calibrate": False}
    return LoadSpec(url=url, **wanted | changes)


def test_a_way_that_takes_longer_delays_the_first_token_and_not_the_others(mock):
    direct = observe(run(spec(mock.url)))
    with NetworkProxy(mock.port, Way(delay_s=0.05)) as proxy:
        delayed = observe(run(spec(proxy.url)))
        assert proxy.counts()["lost"] == 0
    assert delayed.values["ttft_s"] - direct.values["ttft_s"] == pytest.approx(0.1, abs=0.04)
    assert delayed.values["tpot_s"] == pytest.approx(direct.values["tpot_s"], rel=0.3)


def test_lost_packets_stall_single_answers(mock):
    with NetworkProxy(mock.port, Way(loss=0.03, retransmit_s=0.3, seed=1)) as proxy:
        seen = observe(run(spec(proxy.url)))
        counts = proxy.counts()
    assert 0 < counts["lost"] < 0.08 * counts["writes"]
    assert seen.values["stalls_per_answer"] > 0.2
    assert seen.values["stalls_shared_fraction"] < 0.6


def test_refused_questions_are_errors_with_their_status(mock):
    with NetworkProxy(mock.port, Way(refused=0.3, seed=2)) as proxy:
        seen = observe(run(spec(proxy.url)))
        assert proxy.counts()["refused"] > 0
    assert 0.1 < seen.values["failed_fraction"] < 0.5
    assert all("HTTP 503" in e for e in seen.errors)


def test_a_server_that_is_gone_behind_the_proxy_is_told(mock):
    with NetworkProxy(1, Way()) as proxy, pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(proxy.url + "/health", timeout=5)


def test_a_burden_takes_processor_or_memory_and_leaves_nothing(monkeypatch):
    with Burden(processes=1) as busy:
        time.sleep(0.6)
        assert busy.cores_used() > 0.2
    with Burden(processes=1, memory_fraction=0.02) as big:
        held = big.resident_bytes()
        pids = [c.pid for c in big._children]
    assert held > 0.015 * psutil.virtual_memory().total
    assert not any(psutil.pid_exists(p) for p in pids)


def test_a_probe_tells_speed_answers_and_what_it_could_not_ask(mock):
    told = probe(spec(mock.url))
    assert told["ttft_s"] == pytest.approx(0.02, abs=0.02)
    assert told["tpot_s"] == pytest.approx(0.01, abs=0.005)
    assert len(told["answers"]) == 8
    assert all(told["answers"])
    assert told["failed_fraction"] == 0.0
    if told["tokenize_s"] is None:
        assert "tokenize_s" in told["problems"]
    gone = probe(spec("http://127.0.0.1:1"))
    assert gone["failed_fraction"] == 1.0
    assert gone["ttft_s"] is None
    assert json.dumps(gone)
    assert described(spec("http://127.0.0.1:1")) == {"models": None, "version": None, "limits": {}}
