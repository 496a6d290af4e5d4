"""Versions behind the gateway, shorter answers under load, and signals of keys, as they are served."""

import json
import threading

import pytest
from support.served_gateway import ask
from support.served_gateway import served as served_at
from support.waiting import wait_for

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.errors import InvalidSpec
from workbench.engines.server import free_port
from workbench.gateway.config import config_of

OPEN = "[anonymous]\nrequests_per_s = 1e6\nrequests_at_once = 1e6\ntokens_per_s = 1e9\ntokens_at_once = 1e9\n"


@pytest.fixture(scope="module")
def mocks():
    with (
        MockProcess(MockSettings(ttft_s=0.01, itl_s=0.002)) as one,
        MockProcess(MockSettings(ttft_s=0.01, itl_s=0.002)) as two,
    ):
        yield one, two


def served(tmp_path, text):
    return served_at(tmp_path, text, port=free_port())


def rolled_out(tmp_path, mocks, **changes):
    told = {"stable": "v1", "canary": "v2", "journal": str(tmp_path / "journal"), "least_requests": 5} | changes
    lines = "".join(f"{k} = {json.dumps(v)}\n" for k, v in told.items())
    places = "".join(
        f'[[upstreams]]\nname = "{v}"\nurl = "{m.url}"\nversion = "{v}"\n'
        for v, m in zip(("v1", "v2"), mocks, strict=True)
    )
    return f"{OPEN}[rollout]\n{lines}{places}"


def asked(url, mock, user, **more):
    body = {"model": mock.settings.model, "prompt": "Hello", "max_tokens": 4, "user": user} | more
    return ask(url, "POST", "/v1/completions", body)


def test_users_keep_their_version_until_the_new_one_has_everybody_where_users_are_assigned(tmp_path, mocks):
    with served(tmp_path, rolled_out(tmp_path, mocks, assignment="user")) as (url, _):
        state = json.loads(ask(url, "GET", "/rollout")[2])
        assert (state["phase"], state["shares"]) == ("running", {"v1": 0.9, "v2": 0.1})
        first = {u: asked(url, mocks[0], u)[1]["x-model-version"] for u in map(str, range(20))}
        assert set(first.values()) <= {"v1", "v2"}

        def go_on():
            for i in range(10):
                asked(url, mocks[0], f"more {i}")
            return json.loads(ask(url, "GET", "/rollout")[2])["phase"] == "promoted"

        wait_for(go_on)
        assert {asked(url, mocks[0], u)[1]["x-model-version"] for u in first} == {"v2"}
    steps = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    kinds = [s["what"] for s in steps]
    assert [kind for kind in kinds if kind != "request"] == ["begin", "step", "step", "step", "end"]


def test_a_new_version_that_fails_goes_back_and_stays_back_after_a_restart(tmp_path, mocks):
    gone = type("Gone", (), {"url": f"http://127.0.0.1:{free_port()}"})()
    text = (
        rolled_out(tmp_path, (mocks[0], gone), steps=[0.5, 1.0], least_requests=1000)
        + "[breaker]\nleast_calls = 100000\n"
    )
    with served(tmp_path, text) as (url, _):

        def go_on():
            for i in range(10):
                asked(url, mocks[0], f"user {i}")
            return json.loads(ask(url, "GET", "/rollout")[2])["phase"] == "rolled back"

        wait_for(go_on)
    with served(tmp_path, text) as (url, _):
        assert json.loads(ask(url, "GET", "/rollout")[2])["phase"] == "rolled back"
        assert {asked(url, mocks[0], f"user {i}")[0] for i in range(20)} == {200}


def test_next_tokens_are_compared(tmp_path, mocks):
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"prompt": "The capital of"}\n')
    text = rolled_out(tmp_path, mocks, gold=str(gold), gold_every_s=0.05, model=mocks[0].settings.model)
    with served(tmp_path, text) as (url, _):
        wait_for(lambda: json.loads(ask(url, "GET", "/rollout")[2])["answers"]["n"] >= 3)
        assert json.loads(ask(url, "GET", "/rollout")[2])["answers"]["n_differ"] == 0


def test_without_a_rollout_there_is_no_such_route_and_signals_of_keys_are_on_the_metrics_page(tmp_path, mocks):
    with served(tmp_path, f'{OPEN}[[upstreams]]\nname = "one"\nurl = "{mocks[0].url}"\n') as (url, _):
        assert ask(url, "GET", "/rollout")[0] == 404
        assert "x-model-version" not in asked(url, mocks[0], "u")[1]
        for i in range(5):
            asked(url, mocks[0], "u", prompt=f"question {i}")
        page = ask(url, "GET", "/metrics")[2].decode()
    assert 'gateway_key_diversity{key="127.0.0.1"} 1.0' in page
    assert 'gateway_key_suspicious{key="127.0.0.1"} 0.0' in page
    assert "question 3" not in page


def test_answers_become_shorter_while_requests_wait_and_clients_are_told(tmp_path):
    with MockProcess(MockSettings(ttft_s=0.1, itl_s=0.02)) as slow:
        text = (
            f"deadline_s = 30.0\n{OPEN}[concurrency]\nleast = 1\nfirst = 1\nmost = 1\n[[degradation]]\nabove_wait_s = 0.2\n"
            f'most_answer_tokens = 2\n[[upstreams]]\nname = "one"\nurl = "{slow.url}"\n'
        )
        with served(tmp_path, text) as (url, _):
            assert "x-degraded" not in asked(url, slow, "first", max_tokens=8)[1]
            asked(url, slow, "second", max_tokens=8)
            got = []
            threads = [
                threading.Thread(target=lambda i=i: got.append(asked(url, slow, f"u{i}", max_tokens=8)))
                for i in range(10)
            ]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            degraded = [g for g in got if "x-degraded" in g[1]]
            assert degraded
            for _, headers, body in degraded:
                assert headers["x-degraded"] == "at most 2 tokens"
                assert body.count(b"data: {") == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"rollout": {"stable": "v1", "canary": "v3", "journal": "j"}},
        {"rollout": {"stable": "v1", "canary": "v2", "journal": "j", "colour": 1}},
        {"rollout": {"stable": "v1", "canary": "v2", "journal": "j", "silence_s": 0.0}},
        {"rollout": {"stable": "v1", "canary": "v2", "journal": "j", "assignment": "tenant"}},
        {"degradation": [{"above_wait_s": 1.0}]},
    ],
)
def test_odd_configurations_are_refused(wrong):
    upstreams = [{"name": v, "url": "http://localhost:1", "version": v} for v in ("v1", "v2")]
    with pytest.raises(InvalidSpec):
        config_of({"upstreams": upstreams} | wrong)
