"""Requests that are odd are refused with their field and reason; requests that are fine pass unchanged."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.gateway.validation import BadRequest, Limits, check_request

LIMITS = Limits(max_bytes=100_000, max_prompt_tokens=1000, max_answer_tokens=200, max_total_tokens=1100)
COMPLETION = {"model": "m", "prompt": "Hello, 世界", "max_tokens": 8, "temperature": 0, "stream": True}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}


def refusal(body, *, is_chat=False, limits=LIMITS):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadRequest) as caught:
        check_request(raw, limits, is_chat=is_chat)
    return caught.value


def test_what_is_fine_passes_unchanged():
    told = check_request(json.dumps(COMPLETION).encode(), LIMITS, is_chat=False)
    assert told.body == COMPLETION
    assert told.texts == ("Hello, 世界",)
    assert told.n_answer_tokens == 8
    parts = {
        **CHAT,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
    }
    assert check_request(json.dumps(parts).encode(), LIMITS, is_chat=True).texts == ("a", "b")
    ids = check_request(json.dumps(COMPLETION | {"prompt": [1, 2, 3]}).encode(), LIMITS, is_chat=False)
    assert (ids.n_prompt_tokens, ids.texts) == (3, ())
    assert check_request(json.dumps(COMPLETION).encode(), LIMITS, is_chat=False, count=len).n_prompt_tokens == 9


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_tokens": True}, "max_tokens"),  # S4: a boolean is not a number
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 8.0}, "max_tokens"),
        ({"max_tokens": "8"}, "max_tokens"),
        ({"max_tokens": 201}, "max_tokens"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"n": 1000}, "n"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"x": True}}, "stream_options"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [1, True]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"model": 5}, "model"),
        ({"seed": 2**63}, "seed"),
        ({"logit_bias": {"1": 100}}, "logit_bias"),
        ({"guided_regex": "(a+)+$"}, "guided_regex"),
    ],
)
def test_a_field_that_is_odd_is_named(change, field):
    error = refusal(COMPLETION | change)
    assert error.status == 400
    assert error.field == field


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([{"role": "root", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": "x", "tool_calls": []}], "messages[0]"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}],
            "messages[0].content",
        ),
    ],
)
def test_odd_messages_are_named(messages, where):
    assert refusal({**CHAT, "messages": messages}, is_chat=True).field == where


def test_images_come_along_and_are_not_fetched():
    allowed = Limits(allow_images=True)

    def asked(url):
        part = {"type": "image_url", "image_url": {"url": url}}
        return json.dumps({**CHAT, "messages": [{"role": "user", "content": [part]}]}).encode()

    assert check_request(asked("data:image/png;base64,AAAA"), allowed, is_chat=True)
    for url in ("http://169.254.169.254/latest", "file:///etc/passwd", "data:text/html,x"):
        assert "fetches no other URL" in refusal(asked(url), is_chat=True, limits=allowed).cause


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not_json"),
        (b"[]", "not_an_object"),
        (b"{", "not_json"),
        (b'{"model": NaN}', "not_json"),
        (b'{"model": "\xff"}', "not_utf8"),
        (b'{"model": "a", "model": "b", "prompt": "x"}', "duplicate_field"),
        (b"[" * 50_000, "too_deep"),
        (b'{"a":' * 20 + b"1" + b"}" * 20, "too_deep"),
        (b'"' + b"x" * 200_000 + b'"', "too_large"),
        (b'{"prompt": "x"}', "missing_field"),
    ],
)
def test_what_is_no_request_is_refused_with_its_reason(raw, code):
    error = refusal(raw)
    assert error.code == code
    assert error.status == (413 if code == "too_large" else 400)


def test_brackets_in_texts_are_no_nesting():
    body = COMPLETION | {"prompt": '[{"' * 100 + "\\"}
    assert check_request(json.dumps(body).encode(), LIMITS, is_chat=False)


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\u202e", "\u200b", "\ufeff", "\U000e0041", "\x85"])
def test_characters_that_nobody_sees_are_refused_unless_allowed(char):
    body = COMPLETION | {"prompt": f"Hello{char} there"}
    assert refusal(body).code == "hidden_character"
    assert check_request(json.dumps(body).encode(), Limits(allow_hidden=True), is_chat=False)
    assert refusal(json.dumps(COMPLETION | {"prompt": "\ud800"}).encode()).code == "broken_text"
    for plain in ("tab\tand\nline\r\nends", "Grüße", "日本語", "👍🏽"):
        assert check_request(json.dumps(COMPLETION | {"prompt": plain}).encode(), LIMITS, is_chat=False)


def test_tokens_are_budgeted():
    assert refusal(COMPLETION | {"prompt": "x" * 3300}).code == "too_many_tokens"
    assert refusal(COMPLETION | {"prompt": "x" * 2900, "max_tokens": 150}).code == "too_many_tokens"
    assert check_request(
        json.dumps(COMPLETION | {"prompt": "x" * 2700, "max_tokens": 100}).encode(), LIMITS, is_chat=False
    )


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_pass_or_be_refused(raw):
    with suppress(BadRequest):
        check_request(raw, LIMITS, is_chat=False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["model", "prompt", "messages", "n", "stop", "stream", "max_tokens"]), json_values),
    st.booleans(),
)
def test_no_json_does_either(body, is_chat):
    with suppress(BadRequest):
        assert check_request(json.dumps(body).encode(), LIMITS, is_chat=is_chat).body == body
