"""However a server writes its answers, what is counted of them is what its own log says; one test for each way."""

from urllib.parse import quote

import pytest

from workbench.apparatus.mock_dialects import DIALECTS
from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.errors import InvalidSpec
from workbench.load.ask import the_model
from workbench.load.messages import SentLoad
from workbench.load.preflight import ServerProblem, known_dialect
from workbench.load.process import LoadProcess
from workbench.load.records import records
from workbench.load.rows import LoadResult, PrefixHits
from workbench.load.spec import LoadSpec
from workbench.load.summary import summary
from workbench.measuring.envelope import run

TOKENS = 16
NO_HITS = PrefixHits(hit_fraction=None, warning=None, counters_found=False)
CHAT = {
    "second choice",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "function_call",
    "tool_calls",
}
REFUSING = {  # found before a load, by the preflight
    "hosted", "unknown fields end in 500", "unknown fields end in an event", "key in api-key", "basic", "needs a query",
    "busy first", "cut first", "several models", "echo", "echo later", "redirects elsewhere",
}  # fmt: skip
WARNINGS = {
    "JSON": "not-streamed",
    "JSON as a stream": "not-streamed",
    "buffered": "buffered",
    "short answers": "short-answers",
    "usage too small": "token-count-mismatch",
    "kept connections closed": "resent",
}


@pytest.fixture(scope="module")
def mock():
    with MockProcess(MockSettings(ttft_s=0.005, itl_s=0.001)) as server:
        yield server


@pytest.fixture(scope="module")
def process():
    with LoadProcess() as child:
        yield child


def spec_for(mock, name, **changes):
    values = {"model": "mock", "arrivals": "constant", "rate_per_s": 100.0, "duration_s": 0.1, "output_tokens": TOKENS}
    return LoadSpec(**{"url": f"{mock.url}/as/{quote(name)}", "calibrate": False, **values, **changes})


def sent(mock, process, spec, *, dialect=None):
    mock.reset()
    *_, last = process.messages(spec, dialect=dialect)
    assert isinstance(last, SentLoad)
    return records(last.requests, None), {int(k.rpartition("-")[2]): t for k, t in mock.truth().items() if "-" in k}


@pytest.mark.parametrize("name", [n for n in DIALECTS if n not in REFUSING])
def test_what_is_counted_is_what_the_server_wrote(mock, process, name):
    spec = spec_for(mock, name, endpoint="chat" if name in CHAT else "completions")
    rows, truth = sent(mock, process, spec)
    assert len(rows) == 10
    for row in rows:
        true = truth[row.index]
        assert row.ok == true.is_whole, row.error
        if not row.ok:
            assert row.error
            continue
        usage_fraction = DIALECTS[name].usage_fraction
        assert row.output_tokens == true.tokens * usage_fraction
        assert len(row.chunk_s) == (1 if DIALECTS[name].form == "json" else len(true.writes_s))
    answers = summary(spec, rows, None, NO_HITS)
    kinds = {w.kind for w in answers.warnings} - {"buffered"}  # of a busy machine's own making
    expected = {WARNINGS[name]} - {"buffered"} if name in WARNINGS else set()
    if not any(r.n_resent for r in rows):  # on a busy machine each request may open a connection of its own
        expected -= {"resent"}
    assert kinds == expected
    if name == "buffered":
        assert "buffered" in {w.kind for w in answers.warnings}


@pytest.mark.parametrize("endpoint", ["completions", "chat", "responses", "embeddings"])
def test_each_endpoint_is_read(mock, process, endpoint):
    rows, truth = sent(mock, process, spec_for(mock, "plain", endpoint=endpoint))
    assert all(r.ok for r in rows), rows[0].error
    assert [r.output_tokens for r in rows] == [truth[r.index].tokens for r in rows]
    assert all(r.usage_input_tokens for r in rows)


def test_a_late_end_belongs_to_no_latency(mock, process):
    rows, _ = sent(mock, process, spec_for(mock, "a late end"))
    assert all(r.tail_s >= 0.09 and r.end_s == r.chunk_s[-1] for r in rows)


@pytest.mark.parametrize(
    ("name", "after_first", "rule"),
    [
        ("one token, then four", TOKENS - 1, "all tokens but the first"),
        ("four tokens", TOKENS - 4, "chunks alike"),
        ("plain", TOKENS - 1, "all tokens but the first"),
    ],
)
def test_the_tokens_after_the_first_chunk_are_the_true_ones(mock, process, name, after_first, rule):
    rows, _ = sent(mock, process, spec_for(mock, name))
    assert {r.tokens_after_first for r in rows} == {(after_first, rule)}


def test_a_cut_after_a_while_is_a_failure_and_one_at_once_is_sent_again(mock, process):
    late, truth = sent(mock, process, spec_for(mock, "kept connections closed late", rate_per_s=50.0, duration_s=0.4))
    failed = [r for r in late if not r.ok]
    assert failed
    assert all(r.n_resent == 0 for r in failed)
    assert {r.index for r in failed} == {i for i, t in truth.items() if not t.is_whole}
    again, _ = sent(mock, process, spec_for(mock, "kept connections closed", rate_per_s=50.0, duration_s=0.4))
    assert all(r.ok for r in again)
    assert sum(r.n_resent for r in again) > 0


def test_fields_that_a_server_refuses_are_dropped_one_by_one_and_named(mock, process):
    spec = spec_for(mock, "hosted", endpoint="chat")
    found = known_dialect(spec)
    assert set(found.without) == {"ignore_eos", "temperature"}
    assert found.length_field == "max_completion_tokens"
    rows, _ = sent(mock, process, spec, dialect=found)
    assert all(r.ok and r.output_tokens == TOKENS for r in rows)
    for name in ("unknown fields end in 500", "unknown fields end in an event"):
        assert "ignore_eos" in known_dialect(spec_for(mock, name)).without


def test_a_server_that_is_busy_or_cuts_one_connection_is_asked_again(mock):
    for name in ("busy first", "cut first"):
        mock.reset()
        assert known_dialect(spec_for(mock, name)).without == ()


def test_keys_queries_and_passwords_go_where_a_server_wants_them(mock, monkeypatch):
    monkeypatch.setenv("A_KEY", "k-123456\n")
    known_dialect(spec_for(mock, "key in api-key", api_key_env="A_KEY", api_key_header="api-key"))
    with pytest.raises(ServerProblem, match="401"):
        known_dialect(spec_for(mock, "key in api-key", api_key_env="A_KEY"))
    known_dialect(spec_for(mock, "key in api-key", headers=("api-key: k-123456",)))
    url = f"{mock.url}/as/{quote('needs a query')}?api-version=2024-10-21"
    assert "api-version=2024-10-21" in known_dialect(spec_for(mock, "", url=url)).target
    with_user = mock.url.replace("http://", "http://user:pass-12345@") + "/as/basic"
    spec = spec_for(mock, "", url=with_user)
    assert "pass-12345" not in spec.url
    known_dialect(spec)


def test_a_redirect_to_another_server_is_told_and_gets_no_key(mock, monkeypatch):
    with MockProcess() as other, MockProcess(MockSettings(other_port=other.port)) as redirecting:
        spec = spec_for(redirecting, "redirects elsewhere")
        url = f"http://localhost:{other.port}"
        monkeypatch.setenv("A_KEY", "k-123456")
        with pytest.raises(ServerProblem, match=url):
            known_dialect(spec_for(redirecting, "redirects elsewhere", api_key_env="A_KEY"))
        other.reset()
        with pytest.raises(ServerProblem):  # the other one redirects too, and to nowhere
            known_dialect(spec)


def test_of_several_models_one_must_be_named(mock):
    with pytest.raises(InvalidSpec, match="embedder, mock"):
        the_model(spec_for(mock, "several models"))
    assert the_model(spec_for(mock, "plain")) == "mock"


def test_a_prefix_cache_cannot_answer_a_second_run(mock):
    spec = spec_for(mock, "prefix cache", input_tokens=64)
    first, second = (run(spec).row(LoadResult) for _ in range(2))
    assert first.nonce != second.nonce
    assert first.prefix_cache.hit_fraction == second.prefix_cache.hit_fraction == 0
    again = run(spec_for(mock, "prefix cache", input_tokens=64, nonce=second.nonce)).row(LoadResult)
    assert again.prefix_cache.hit_fraction == 1
    assert {w.kind for w in again.warnings} >= {"prefix-cache", "reused-prompts"}
