"""What the sending process does: caps, closed loops, conversations, stopping, other servers' dialects."""

import http.server
import json
import threading

import psutil
import pytest
from support.load_bodies import first_bodies

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.load.answer_events import content, error_text, usage
from workbench.load.messages import LoadProgress, SentLoad
from workbench.load.process import LoadProcess
from workbench.load.rows import LoadResult, LoadSamples
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import measured, run


@pytest.fixture(scope="module")
def mock():
    with MockProcess(MockSettings(ttft_s=0.05, itl_s=0.005)) as server:
        yield server


def spec_for(url, **changes):
    values = {"model": "mock", "rate_per_s": 40.0, "duration_s": 0.8, "output_tokens": 8, "calibrate": False}
    return LoadSpec(**{"url": url, **values, **changes})


def most_at_once(rows):
    events = sorted([(r.sent_s, 1) for r in rows] + [(r.end_s, -1) for r in rows], key=lambda e: (e[0], e[1]))
    now = most = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


def test_no_more_are_in_flight_than_the_cap_allows(mock):
    found = run(spec_for(mock.url, concurrency=2, rate_per_s=60.0))
    rows = found.sampled(LoadSamples).requests
    assert most_at_once(rows) <= 2
    assert found.row(LoadResult).queued_at_client_s.p99 > 0.1
    assert found.row(LoadResult).counts.ok == len(rows)


def test_a_closed_loop_keeps_its_users_busy(mock):
    found = run(spec_for(mock.url, arrivals="closed", concurrency=4, duration_s=1.5))
    rows = found.sampled(LoadSamples).requests
    assert most_at_once(rows) <= 4
    one_s = 0.05 + 7 * 0.005  # the server takes no less
    assert 4 < len(rows) <= 4 * (1 + 1.5 / one_s)
    ends = sorted(r.end_s for r in rows)
    for n, row in enumerate(sorted(rows, key=lambda r: r.due_s)[4:]):  # each is due when an earlier one has ended
        assert row.due_s >= ends[n] - 1e-3


def test_conversations_carry_what_was_said(mock):
    mock.reset()
    found = run(spec_for(mock.url, endpoint="chat", turns=3, rate_per_s=10.0))
    rows = found.sampled(LoadSamples).requests
    assert len(rows) % 3 == 0
    assert found.row(LoadResult).counts.failed == 0
    assert len(mock.truth()) == len(rows) + 1  # and the preflight


def test_prompts_of_different_requests_start_differently():
    spec = spec_for("http://localhost", input_tokens=64)
    prompts = [b["prompt"] for b in first_bodies(spec)]
    assert len({" ".join(p.split()[:8]) for p in prompts}) == len(prompts)
    assert {len(p.split()) for p in prompts} == {64}
    assert not {p[:40] for p in prompts} & {b["prompt"][:40] for b in first_bodies(spec)}  # nor does another run's
    shared = spec_for("http://localhost", unique_prefix=False)
    assert len({b["prompt"] for b in first_bodies(shared)}) == 1


def test_stopping_ends_the_sending_process_at_once(mock):
    with LoadProcess() as process:
        messages = process.messages(spec_for(mock.url, duration_s=60.0))
        next(messages)
        messages.close()  # long before the minute is over
        assert not psutil.pid_exists(process.pid)


def test_a_process_stays_warm_for_the_next_load(mock):
    with LoadProcess() as process:
        for _ in range(2):
            *_, last = process.messages(spec_for(mock.url, duration_s=0.5))
            assert isinstance(last, SentLoad)
            assert all(r.error is None for r in last.requests)


class Picky(http.server.BaseHTTPRequestHandler):
    """Refuses fields that OpenAI's own interface lacks, answers without chunked coding and closes."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "ignore_eos" in asked or "continuous_usage_stats" in asked.get("stream_options", {}):
            body = json.dumps({"error": {"message": "Unrecognized request argument"}}).encode()
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        for i in range(3):
            self.wfile.write(b'data: {"choices": [{"text": "w%d"}]}\r\n\r\n' % i)
        self.wfile.write(
            b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}\r\n\r\ndata: [DONE]\r\n\r\n'
        )

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        return


def test_a_server_with_another_dialect_is_measured():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Picky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        found = run(spec_for(f"http://127.0.0.1:{server.server_port}/v1", rate_per_s=10.0))
    finally:
        server.shutdown()
        server.server_close()
    answers = found.row(LoadResult)
    assert answers.counts.failed == 0
    assert answers.tokens.output == 3 * answers.counts.ok
    assert answers.token_source == {"usage": answers.counts.ok}


def test_progress_tells_what_ended(mock, tmp_path):
    steps = list(measured(spec_for(mock.url), tmp_path))
    seen = sum(len(s.result.finished) for s in steps[:-1] if isinstance(s.result, LoadProgress))
    assert seen > 10
    assert "requests answered" in steps[-2].step


@pytest.mark.parametrize(
    ("event", "text", "tokens"),
    [
        ({"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": 1.0}}, "a", 1),
        ({"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": "1"}}, "a", None),
        ({"choices": [{"delta": {"content": [{"type": "text", "text": "a"}]}}]}, "a", None),
        ({"choices": [{"delta": {"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}]}}]}, "hm", None),
        (
            {"choices": [{"delta": {"content": "a", "reasoning": {"effort": 1}}, "message": "x"}], "object": 5},
            "a",
            None,
        ),
        ({"choices": [{"text": 5}]}, "5", None),
        ({"choices": ["a", None]}, None, None),
        ({"choices": [], "usage": []}, None, None),
    ],
)
def test_an_event_is_read_as_far_as_it_can_be(event, text, tokens):
    assert content(event) == (text or "")
    found = usage(event)
    assert (found and found.completion_tokens) == tokens
    assert error_text(event) is None
