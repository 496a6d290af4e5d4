"""What faults are made of: a bad way to a server, and programs in its way; each proves what it did."""

import json
import urllib.error
import urllib.request

import numpy as np
import psutil
import pytest
from support.waiting import wait_for

from workbench.apparatus.burden import Burden
from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.apparatus.network_proxy import NetworkProxy, Way
from workbench.core.rows import plain
from workbench.load.probe import described, probe
from workbench.load.rows import KeptRequest, LoadSamples, ServerCard
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run
from workbench.questions.latency.findings.observation import observe

TTFT_S, TOKENS = 0.02, 20


@pytest.fixture(scope="module")
def mock():
    with MockProcess(MockSettings(ttft_s=TTFT_S, itl_s=0.01)) as process:
        yield process


def spec(url, **changes):
    wanted = {"model": "mock", "rate_per_s": 40.0, "duration_s": 1.0, "output_tokens": TOKENS, "calibrate": False}
    return LoadSpec(url=url, **wanted | changes)


def test_a_way_that_takes_longer_delays_each_answer_and_loses_nothing(mock):
    with NetworkProxy(mock.port, Way(delay_s=0.05)) as proxy:
        delayed = run(spec(proxy.url))
        assert proxy.counts()["lost"] == 0
    requests = delayed.sampled(LoadSamples).requests
    assert all(r.first_content_s - r.sent_s >= 0.95 * (TTFT_S + 2 * 0.05) for r in requests)
    assert all(r.output_tokens == TOKENS for r in requests)


def test_lost_packets_come_later_and_are_not_gone(mock):
    with NetworkProxy(mock.port, Way(loss=0.1, retransmit_s=0.5, seed=1)) as proxy:
        requests = run(spec(proxy.url, timeout_s=60.0)).sampled(LoadSamples).requests
        counts = proxy.counts()
    assert 0 < counts["lost"] < counts["writes"]
    assert all(r.error is None and r.output_tokens == TOKENS for r in requests)
    assert max(max(r.gaps_us) for r in requests) > 0.25e6


def test_refused_questions_are_errors_with_their_status(mock):
    with NetworkProxy(mock.port, Way(refused=0.3, seed=2)) as proxy:
        seen = observe(run(spec(proxy.url)))
        counts = proxy.counts()
    assert 0 < len(seen.errors) <= counts["refused"] < counts["questions"]
    assert seen.values["failed_fraction"] == pytest.approx(len(seen.errors) / seen.n_requests)
    assert all("HTTP 503" in e for e in seen.errors)


def test_a_server_that_is_gone_behind_the_proxy_is_reported(mock):
    with NetworkProxy(1, Way()) as proxy, pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(proxy.url + "/health", timeout=60)


def test_a_burden_takes_processor_or_memory_and_leaves_nothing():
    with Burden(processes=1) as busy:
        wait_for(lambda: busy.cores_used() > 0)
    with Burden(processes=1, memory_fraction=0.02) as big:
        held = big.resident_bytes()
        pids = [c.pid for c in big._children]
    assert held > 0.015 * psutil.virtual_memory().total
    assert not any(psutil.pid_exists(p) for p in pids)


def test_a_probe_gives_speed_answers_and_what_it_could_not_ask(mock):
    asked = probe(spec(mock.url))
    assert asked.ttft_s >= 0.95 * TTFT_S
    assert asked.tpot_s > 0
    assert len(asked.answers) == 8
    assert all(asked.answers)
    assert asked.failed_fraction == 0.0
    if asked.tokenize_s is None:
        assert "tokenize_s" in asked.problems
    gone = probe(spec("http://127.0.0.1:1"))
    assert gone.failed_fraction == 1.0
    assert gone.ttft_s is None
    assert json.dumps(plain(gone))
    assert described(spec("http://127.0.0.1:1")) == ServerCard()


def answer(due, *, stalls_at=None):
    """A request whose 201 tokens come every 10 ms, with one gap of a second where it stalls."""
    gaps = np.full(200, 10_000)
    if stalls_at is not None:
        gaps[stalls_at] = 1_000_000
    end = due + 0.05 + gaps.sum() / 1e6
    return KeptRequest(
        due_s=due,
        sent_s=due,
        first_content_s=due + 0.05,
        end_s=end,
        gaps_us=tuple(gaps.tolist()),
        input_tokens=5,
        output_tokens=201,
    )


@pytest.mark.parametrize(("stalls", "shared"), [((10, None, None), 0.0), ((10, 10, 10), 1.0)])
def test_stalls_are_single_or_shared(load_of, stalls, shared):
    """While one answer stalls the others go on, or all of them stand still."""
    seen = observe(load_of([answer(0.001 * i, stalls_at=at) for i, at in enumerate(stalls)] * 3)).values
    assert seen["stalls_per_answer"] == pytest.approx(sum(at is not None for at in stalls) / len(stalls))
    assert seen["stall_s"] == pytest.approx(1.0)
    if shared:
        assert seen["stalls_shared_fraction"] == 1.0
    else:
        assert seen["stalls_shared_fraction"] < 0.5
