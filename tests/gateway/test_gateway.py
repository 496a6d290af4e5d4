"""The gateway as it is served, before a server that answers like vLLM; bad clients and bad servers included."""

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from support.served_gateway import ask
from support.served_gateway import served as served_at
from support.waiting import wait_for

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.errors import InvalidSpec
from workbench.engines.server import free_port
from workbench.gateway.config import config_of, key_digest, read_config
from workbench.load.rows import LoadSamples
from workbench.load.schedule import schedule
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run as measure_load


def served(tmp_path, text):
    return served_at(tmp_path, text, port=free_port())


KEY = "a-key-of-a-tenant-0001"
OTHER = "a-key-of-a-tenant-0002"


@pytest.fixture(scope="module")
def mock():
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.005)) as process:
        yield process


def question(mock, **changes):
    return {"model": mock.settings.model, "prompt": "Hello", "max_tokens": 4, "temperature": 0} | changes


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def upstream(mock, name="one"):
    return f'[[upstreams]]\nname = "{name}"\nurl = "{mock.url}"\n'


@pytest.fixture(scope="module")
def usual(mock, tmp_path_factory):
    """The URL of a gateway that limits nothing but the size of a body, for the tests that need no other."""
    generous = "[limits]\nmax_bytes = 2000\n[anonymous]\nrequests_per_s = 1e6\nrequests_at_once = 1e6\ntokens_per_s = 1e9\ntokens_at_once = 1e9\n"
    with served(tmp_path_factory.mktemp("usual"), "cache_bytes = 100000\n" + upstream(mock) + generous) as (url, _):
        yield url


def n_answered(url):
    page = ask(url, "GET", "/metrics")[2].decode()
    lead = 'gateway_requests_total{code="",status="200",tenant="anonymous"} '
    return float(next((line.removeprefix(lead) for line in page.splitlines() if line.startswith(lead)), 0))


def test_answers_pass_whole_and_as_streams(mock, usual):
    before = n_answered(usual)
    status, _, body = ask(usual, "POST", "/v1/completions", question(mock))
    assert status == 200
    assert b'"text"' in body
    status, headers, body = ask(usual, "POST", "/v1/completions", question(mock, stream=True))
    assert headers["content-type"].startswith("text/event-stream")
    assert body.rstrip().endswith(b"data: [DONE]")
    assert ask(usual, "GET", "/v1/other")[0] == 404
    assert n_answered(usual) == before + 2


def test_a_load_sees_what_it_sees_without_it(mock, usual):
    spec = LoadSpec(
        url=usual,
        model=mock.settings.model,
        rate_per_s=20,
        duration_s=1,
        output_tokens=16,
        calibrate=False,
        input_tokens=16,
    )
    mock.reset()
    through = measure_load(spec)
    assert through.failures == []
    requests = through.sampled(LoadSamples).requests
    assert len(requests) == len(schedule(spec).input_tokens)
    assert all(r.output_tokens == 16 and len(r.gaps_us) == 15 for r in requests)  # each token in a chunk of its own
    assert len(mock.truth()) == len(requests) + 1  # and the preflight


def test_keys_are_needed_and_tenants_have_limits_of_their_own(mock, tmp_path):
    tenants = "".join(
        f'[[tenants]]\nname = "{name}"\nkey_digest = "{key_digest(key)}"\nrequests_per_s = 0.5\nrequests_at_once = 3\n'
        for name, key in (("a", KEY), ("b", OTHER))
    )
    audit = tmp_path / "audit.jsonl"
    with served(tmp_path, f'audit = "{audit}"\n' + upstream(mock) + tenants) as (url, log):
        assert ask(url, "POST", "/v1/completions", question(mock))[0] == 401
        assert ask(url, "POST", "/v1/completions", question(mock), bearer("wrong"))[0] == 401
        statuses = [ask(url, "POST", "/v1/completions", question(mock), bearer(KEY)) for _ in range(5)]
        assert [s for s, _, _ in statuses] == [200, 200, 200, 429, 429]
        assert int(statuses[-1][1]["retry-after"]) >= 1
        assert ask(url, "POST", "/v1/completions", question(mock), bearer(OTHER))[0] == 200
        wait_for(lambda: ask(url, "POST", "/v1/completions", question(mock), bearer(KEY))[0] == 200)  # it recovers
    rows = [json.loads(line) for line in audit.read_text().splitlines()]
    assert {r["tenant"] for r in rows} == {None, "a", "b"}
    for text in (audit.read_text(), log.read_text()):
        assert KEY not in text
        assert "Hello" not in text


def test_odd_requests_are_refused_with_the_field(mock, usual):
    status, _, body = ask(usual, "POST", "/v1/completions", question(mock, max_tokens=True))
    assert (status, json.loads(body)["error"]["param"]) == (400, "max_tokens")
    assert ask(usual, "POST", "/v1/completions", b"x" * 3000)[0] == 413
    assert ask(usual, "POST", "/v1/completions", b"[" * 1000)[0] == 400
    assert ask(usual, "POST", "/v1/completions", question(mock), {"X-Big": "y" * 20_000})[0] in {400, 431}


def test_a_dripping_body_is_given_up_and_bad_requests_are_no_offence(mock, tmp_path):
    with served(tmp_path, "body_timeout_s = 0.5\n" + upstream(mock)) as (url, _):
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=120) as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert b"408" in s.recv(1000)
        statuses = [ask(url, "POST", "/v1/completions", b"no")[0] for _ in range(25)]
        assert statuses == [400] * 25
        assert ask(url, "POST", "/v1/completions", question(mock))[0] == 200


def test_greedy_answers_are_kept_and_sampled_ones_are_not(mock, usual):
    mock.reset()
    asked = question(mock, prompt="What is kept?")
    bodies = [ask(usual, "POST", "/v1/completions", asked)[2] for _ in range(3)]
    assert len(set(bodies)) == 1
    assert len(mock.truth()) == 1
    for _ in range(2):
        ask(usual, "POST", "/v1/completions", asked | {"temperature": 0.7})
    assert len(mock.truth()) == 3


def test_a_replica_that_is_gone_is_gone_around(mock, tmp_path):
    gone = '[[upstreams]]\nname = "gone"\nurl = "http://127.0.0.1:9"\n'
    with served(tmp_path, "prefix_characters = 0\n" + gone + upstream(mock)) as (url, _):
        statuses = [ask(url, "POST", "/v1/completions", question(mock))[0] for _ in range(8)]
        assert statuses == [200] * 8


def test_a_server_that_dies_in_the_middle_ends_the_stream_with_a_reason_and_all_gone_is_told(tmp_path):
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.05)) as dying, served(tmp_path, upstream(dying)) as (url, _):
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        asked = question(dying, stream=True, max_tokens=200)
        connection.request("POST", "/v1/completions", json.dumps(asked), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.readline().startswith(b"data: {")
        dying.close()
        rest = response.read()
        assert b"upstream_died" in rest
        connection.close()
        status, _, body = ask(url, "POST", "/v1/completions", question(dying))
        assert (status, json.loads(body)["error"]["code"]) == (502, "upstream")


def test_a_client_that_leaves_frees_its_place(mock, tmp_path):
    narrow = "[concurrency]\nfirst = 1\nmost = 1\n"
    with served(tmp_path, upstream(mock) + narrow) as (url, _):
        parts = urlsplit(url)
        for _ in range(3):
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
            asked = question(mock, stream=True, max_tokens=2000)
            connection.request("POST", "/v1/completions", json.dumps(asked), {"Content-Type": "application/json"})
            connection.getresponse().readline()
            connection.close()
        assert ask(url, "POST", "/v1/completions", question(mock))[0] == 200
        wait_for(lambda: "gateway_under_way 0.0" in ask(url, "GET", "/metrics")[2].decode())


def test_too_much_is_refused_early_with_a_time(mock, tmp_path):
    """One place, answers of about half a second, a deadline of one: most of thirty at once are told to come later."""
    narrow = "deadline_s = 1.0\nmax_waiting = 5\n[concurrency]\nfirst = 1\nmost = 1\n[anonymous]\nrequests_per_s = 1000\nrequests_at_once = 1000\n"
    with served(tmp_path, narrow.replace("[concurrency]", upstream(mock) + "[concurrency]")) as (url, _):
        asked = question(mock, max_tokens=100)
        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(lambda _: ask(url, "POST", "/v1/completions", asked), range(30)))
        statuses = [s for s, _, _ in answers]
        assert set(statuses) == {200, 503}
        assert statuses.count(503) >= 20
        assert all("retry-after" in h for s, h, _ in answers if s == 503)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no upstreams"),
        ("x = 1\n[[upstreams]]\nname='a'\nurl='http://b'", "unknown fields x"),
        ("[[upstreams]]\nname='a'", "upstreams\\[0\\]"),
        ("[[upstreams]]\nname='a'\nurl='u'\n[[upstreams]]\nname='a'\nurl='u'", "same name"),
        ("[[upstreams]]\nname='a'\nurl='u'\n[[tenants]]\nname='t'\nkey_digest='plain'", "key_digest of t"),
        ("redact = 'false'\n[[upstreams]]\nname='a'\nurl='http://b'", "Expected `bool`, got `str` - at `\\$.redact`"),
        ("not toml", "cannot be read"),
    ],
)
def test_odd_configurations_are_refused_with_their_place(tmp_path, text, message):
    file = tmp_path / "g.toml"
    file.write_text(text)
    with pytest.raises(InvalidSpec, match=message):
        read_config(file)


def test_redaction_works_on_the_way_in_and_out(tmp_path):
    told = config_of({"upstreams": [{"name": "a", "url": "http://b"}], "redact": True})
    assert told.redact
    from workbench.gateway.answers import StreamReader

    reader = StreamReader(redact=True, is_stream=True)
    pieces = ["my card ", "4111 11", "11 1111", " 1111 is", " secret"]
    events = [b"data: " + json.dumps({"choices": [{"index": 0, "text": t}]}).encode() + b"\n\n" for t in pieces]
    events += [
        b'data: {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": {"completion_tokens": 9}}\n\n',
        b"data: [DONE]\n\n",
    ]
    whole = b"".join(events)
    out = b""
    for i in range(0, len(whole), 7):
        out += reader.feed(whole[i : i + 7])
    out += reader.end()
    texts = [
        json.loads(line[6:])["choices"][0]["text"] for line in out.decode().split("\n\n") if line.startswith("data: {")
    ]
    assert "".join(texts) == "my card [CARD] is secret"
    assert out.rstrip().endswith(b"data: [DONE]")
