"""Streams as users of other clients reported them: each is counted, or fails with its cause. The names say where they were reported."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.load.event_stream import EventStream
from workbench.load.flight import Flight

DONE = b"data: [DONE]\n\n"


def delta(delta, finish=None):
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def events(*messages):
    return b"".join(b"data: " + json.dumps(m).encode() + b"\n\n" for m in messages)


A, B, STOP = delta({"content": "a"}), delta({"content": "b"}), delta({}, "stop")
COUNTED = {
    "openai-python 2722: retry without data": (b"retry: 3000\n\n" + events(A, STOP) + DONE, 1),
    "openai-python 3833: an id after the last event": (events(A, STOP) + DONE + b"id: 2\n\n", 1),
    "llama_index 22223: text that holds 'data: '": (events(delta({"content": "log\n\ndata: 42"}), STOP) + DONE, 1),
    "vercel/ai 19165: DONE without finish_reason": (events(A) + DONE, 1),
    "text-generation-inference 2336: empty finish_reason": (events(delta({"content": "a"}, ""), B, STOP) + DONE, 2),
    "text-generation-inference 2221: no DONE": (events(A, B, STOP), 2),
    "text-generation-inference: no blank after the colon": (events(A, STOP).replace(b"data: ", b"data:") + DONE, 1),
    "tenstorrent/vllm 377: reasoning alone": (
        events(delta({"reasoning_content": "hm"}), delta({}, "length")) + DONE,
        1,
    ),
    "perf_analyzer 433: content null beside reasoning": (
        events(delta({"content": None, "reasoning": "x"}), B, STOP) + DONE,
        2,
    ),
    "Azure: filter results first": (events({"choices": [], "prompt_filter_results": [{}]}, A, STOP) + DONE, 1),
    "OpenRouter: comments": (b": OPENROUTER PROCESSING\n\n" + events(A, STOP) + DONE, 1),
    "DeepSeek: blank lines before JSON": (
        b"\n\n\n" + json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}).encode(),
        1,
    ),
    "Mistral: content in parts": (
        events(delta({"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}]}), B, STOP) + DONE,
        2,
    ),
}
FAILED = {
    "sub2api 1471: two objects in one event": (b'data: {"choices":[{"de\ndata: {"type":"error"}\n\n', "not JSON"),
    "llm_wiki 619: an error as JSON under text/event-stream": (b'{"error": {"message": "too long"}}', "too long"),
    "NeoGraph 124: an error, then DONE": (events({"error": "STREAM_EXPLODED"}) + DONE, "STREAM_EXPLODED"),
    "pi 7441: no end at all": (events(A, {"choices": [], "usage": {"completion_tokens": 5}}), "without finish_reason"),
    "command-code 785: ends in a tool call": (
        events(delta({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]})),
        "without finish_reason",
    ),
    "llama.cpp: an error field": (events(A) + b'error: {"code": 500, "message": "slot"}\n\n', "slot"),
    "vLLM: an error in the middle": (events(A, {"error": {"message": "EngineDeadError"}}) + DONE, "EngineDeadError"),
    "vLLM before 0.10: an error object": (events(A, {"object": "error", "message": "boom"}), "boom"),
    "SGLang: finish_reason abort": (events(A, delta({}, "abort")) + DONE, "abort"),
    "OpenRouter: error with a choice": (events(A, delta({}, "error") | {"error": {"message": "up"}}), "up"),
    "Gemini: a list with an error": (b'[{"error": {"message": "bad"}}]', "bad"),
    "FastAPI: a detail": (b'{"detail": "Model overloaded"}', "Model overloaded"),
    "a login page": (b"<html><body>Log in</body></html>", "no token"),
}


def read(body, *, size=None):
    """A request whose answer came in pieces of a size."""
    ended = []
    job = SimpleNamespace(keep_answers=False, target="/v1")
    driver = SimpleNamespace(job=job, keeps_texts=True, finished=ended.append, redacted=str)
    flight = Flight(index=0, due_ns=0, driver=driver, input_tokens=1, output_tokens=1, conversation=0)
    for i in range(0, len(body), size or len(body)):
        flight.received(7 + i, body[i : i + (size or len(body))])
    flight.ended(9 + len(body), SimpleNamespace(status=200, headers={}), None)
    assert ended == [flight]
    return flight


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("size", [None, 1, 7])
def test_a_good_stream_is_counted(name, size):
    body, n_chunks = COUNTED[name]
    flight = read(body, size=size)
    assert flight.error is None
    assert len(flight.chunk_ns) == n_chunks


@pytest.mark.parametrize("name", FAILED)
def test_a_bad_stream_fails_with_its_cause(name):
    body, cause = FAILED[name]
    assert cause in read(body).error


def parsed(body, cuts):
    found = []
    stream = EventStream(lambda name, data: found.append((name, data)))
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        stream.feed(body[begin:end])
    stream.end()
    return found


@given(st.data())
def test_events_do_not_depend_on_line_ends_nor_on_how_the_bytes_are_cut(data):
    lines = ['data: {"a": 1}', "data", ": c", "event: x", "id: 5", "data:b", "", "", "data: [DONE]", "", "retry: 1"]
    body = "\n".join(data.draw(st.lists(st.sampled_from(lines), max_size=12)))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    written = body.replace("\n", end).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=4)))
    assert parsed(written, cuts) == parsed(body.encode(), [])


def test_the_example_of_the_standard():
    """HTML standard, section 9.2.6: two events of empty and one-line data; the unfinished last one is read, as OpenAI's client does."""
    assert parsed(b"data\n\ndata\ndata\n\ndata:", []) == [(b"", b"\n")]
    assert parsed(b"data:test\n\ndata: test\n\n", []) == [(b"", b"test"), (b"", b"test")]
    assert parsed(b"data: YHOO\ndata: +2\ndata: 10\n\n", []) == [(b"", b"YHOO\n+2\n10")]
