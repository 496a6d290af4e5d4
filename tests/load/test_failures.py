"""Servers that cannot be measured: one clear message each, and a stored run that holds the failures."""

import socket

import pytest

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.errors import InvalidSpec
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run


def spec_for(url, **changes):
    values = {"model": "mock", "rate_per_s": 40.0, "duration_s": 0.8, "output_tokens": 8, "calibrate": False}
    return LoadSpec(**{"url": url, **values, **changes})


def failure(found):
    (only,) = found.failures
    assert found.results == []
    return f"{only.cause} {only.remedy}"


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert "No server answers at" in failure(run(spec_for(url)))


def test_an_unknown_model_is_told_with_the_known_ones():
    with MockProcess() as mock:
        text = failure(run(spec_for(mock.url, model="other")))
    assert "'other'" in text
    assert "It serves: mock." in text


def test_a_missing_key_names_the_variable_and_a_right_one_works(monkeypatch):
    monkeypatch.setenv("A_KEY", "")
    with MockProcess(MockSettings(api_key="secret")) as mock:
        text = failure(run(spec_for(mock.url, api_key_env="A_KEY")))
        assert "HTTP 401" in text
        assert "A_KEY" in text
        monkeypatch.setenv("A_KEY", "secret")
        found = run(spec_for(mock.url, api_key_env="A_KEY"))
    assert found.row(LoadResult).counts.failed == 0
    assert "secret" not in found.to_json()


def test_a_server_that_never_answers():
    with MockProcess(MockSettings(silent_every=1)) as mock:
        assert "did not answer within 1 s" in failure(run(spec_for(mock.url, timeout_s=1.0)))


def test_requests_that_time_out_are_censored_and_miss_the_slo():
    with MockProcess(MockSettings(silent_every=4)) as mock:
        found = run(spec_for(mock.url, timeout_s=1.0, slo_ttft_s=60.0))
    answers = found.row(LoadResult)
    late = answers.counts.failed
    assert late >= 5
    assert answers.e2e_s.from_due.n_censored == late
    assert answers.e2e_s.from_due.p99 is None  # beyond the time-out
    assert answers.goodput.good == answers.counts.due - late
    assert "timeout after 1 s" in found.failures[0].cause


def test_an_answer_that_breaks_off():
    with MockProcess(MockSettings(disconnect_every=3)) as mock:
        found = run(spec_for(mock.url))
    assert found.row(LoadResult).counts.failed >= 5
    assert "connection lost in the middle of the answer" in found.failures[0].cause


def test_a_server_that_dies_under_load():
    with MockProcess(MockSettings(itl_s=0.05)) as mock:
        progress = []

        def kill(step):
            progress.append(step)
            if len(progress) == 3:
                mock.close()

        found = run(spec_for(mock.url, duration_s=2.0), on_progress=kill)
    counts = found.row(LoadResult).counts
    assert counts.failed > 0
    assert counts.due == counts.ok + counts.failed
    causes = " ".join(f.cause for f in found.failures)
    assert "no connection" in causes or "connection lost" in causes


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "localhost:8000"},
        {"arrivals": "sometimes"},
        {"arrivals": "closed"},
        {"arrivals": "ramp"},
        {"arrivals": "trace"},
        {"turns": 2},
        {"rate_per_s": 0},
        {"concurrency": 0},
    ],
)
def test_a_spec_that_means_nothing_is_refused(changes):
    with pytest.raises(InvalidSpec):
        spec_for(**{"url": "http://localhost", **changes})
