"""Answers are redacted in every text, however their events are framed and cut."""

import json
import random

import pytest

from workbench.gateway.answer_redaction import EventRedactor, redacted_answer
from workbench.gateway.redaction import redact_text

SECRET = "my card\u00a04111\u20091111\u202f1111 1111 and 030 901820, a@example.com is it"


def framed(messages, *, head="data: ", end="\n\n", event=""):
    return "".join(event + head + json.dumps(m) + end for m in messages).encode() + f"data: [DONE]{end}".encode()


def streamed(data, cut):
    redactor, out = EventRedactor(), b""
    for i in range(0, len(data), cut):
        out += redactor.feed(data[i : i + cut])
    out += redactor.end()
    return [json.loads(line[6:]) for line in out.decode().split("\n") if line.startswith("data: {")], out


def chat(name, wrap):
    pieces = [SECRET[i : i + 3] for i in range(0, len(SECRET), 3)]
    events = [{"choices": [{"index": 0, "delta": wrap(p), "finish_reason": None}]} for p in pieces]
    return [
        *events,
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"completion_tokens": 9}},
    ]


FIELDS = {
    "content": (lambda p: {"content": p}, lambda d: d.get("content")),
    "reasoning": (lambda p: {"reasoning": p}, lambda d: d.get("reasoning")),
    "refusal": (lambda p: {"refusal": p}, lambda d: d.get("refusal")),
    "function_call": (
        lambda p: {"function_call": {"arguments": p}},
        lambda d: d.get("function_call", {}).get("arguments"),
    ),
    "tool_calls": (
        lambda p: {"tool_calls": [{"index": 1, "function": {"arguments": p}}]},
        lambda d: d.get("tool_calls", [{"function": {}}])[0]["function"].get("arguments"),
    ),
}


@pytest.mark.parametrize("cut", [1, 7, 64, 10**6])
@pytest.mark.parametrize(
    ("head", "end", "event"),
    [("data: ", "\n\n", ""), ("data:", "\r\n\r\n", "event: chunk\r\n"), ("data: ", "\r\r", ": hi\r")],
)
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_in_every_framing(field, head, end, event, cut):
    wrap, read = FIELDS[field]
    messages, out = streamed(framed(chat(field, wrap), head=head, end=end, event=event), cut)
    texts = [read(m["choices"][0]["delta"]) or "" for m in messages if m["choices"]]
    assert "".join(texts) == redact_text(SECRET)[0] == "my card\u00a0[CARD] and [PHONE], [EMAIL] is it"
    assert [m["choices"][0]["finish_reason"] for m in messages if m["choices"]][-1] == "stop"
    assert messages[-1]["usage"]["completion_tokens"] == 9
    assert out.endswith(b"data: [DONE]\n\n")


def test_a_last_event_with_a_text_comes_in_order():
    messages, _ = streamed(framed([{"choices": [{"index": 0, "text": "call 030 90", "finish_reason": None}]},
                                   {"choices": [{"index": 0, "text": "1820", "finish_reason": "length"}]}]), 5)  # fmt: skip
    assert "".join(m["choices"][0]["text"] for m in messages) == "call [PHONE]"


def test_events_of_responses_and_an_unfinished_stream():
    events = [
        {"type": "response.output_text.delta", "output_index": 0, "delta": p}
        for p in ("key ghp_abcdefghijklmnop", "qrstuvwxyz0123456789")
    ]
    done = {
        "type": "response.output_text.done",
        "output_index": 0,
        "text": "key ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    }
    messages, _ = streamed(framed([*events, done]), 11)
    assert "".join(m.get("delta", "") for m in messages) == "key [SECRET]"
    assert messages[-1]["text"] == "key [SECRET]"
    messages, _ = streamed(b'data: {"choices":[{"index":0,"text":"mail a@example.com"}]}', 4)
    assert "".join(m["choices"][0]["text"] for m in messages) == "mail [EMAIL]"


def test_two_choices_do_not_mix():
    texts = {0: ["4111 1111", " 1111 1111 a"], 1: ["030 ", "901820 b"]}
    events = [{"choices": [{"index": i, "text": texts[i][k]}]} for k in (0, 1) for i in (0, 1)]
    messages, _ = streamed(framed(events), random.Random(0).randint(3, 9))
    got = {i: "".join(m["choices"][0]["text"] for m in messages if m["choices"][0]["index"] == i) for i in (0, 1)}
    assert got == {0: "[CARD] a", 1: "[PHONE] b"}


def test_a_whole_answer():
    body = {
        "id": "4111111111111111",
        "choices": [{"message": {"content": SECRET, "tool_calls": [{"function": {"name": "f", "arguments": SECRET}}]}}],
    }
    got = json.loads(redacted_answer(json.dumps(body).encode()))
    assert got["id"] == body["id"]
    assert "4111" not in json.dumps(got["choices"])
    assert got["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f"


def test_half_of_a_pair_of_surrogates_is_written_as_it_came():
    assert json.loads(redacted_answer(b'{"text": "\\ud800 a@example.com"}')) == {"text": "\ud800 [EMAIL]"}
    messages, _ = streamed(b'data: {"choices":[{"index":0,"text":"\\ud800 b"}]}\n\n', 5)
    assert "".join(m["choices"][0]["text"] for m in messages) == "\ud800 b"
