"""Requests that are odd are refused with their field and reason; requests that are fine pass unchanged."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.gateway.endpoints import CHAT as CHATS
from workbench.gateway.endpoints import COMPLETION as COMPLETIONS
from workbench.gateway.endpoints import EMBEDDING, ENDPOINTS, RESPONSE, TOKENIZE
from workbench.gateway.request_json import BadRequest
from workbench.gateway.validation import Limits, check_request

LIMITS = Limits(max_bytes=100_000, max_prompt_tokens=1000, max_answer_tokens=200, max_total_tokens=1100)
COMPLETION = {"model": "m", "prompt": "Hello, 世界", "max_tokens": 8, "temperature": 0, "stream": True}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}


def refusal(body, *, endpoint=COMPLETIONS, limits=LIMITS):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadRequest) as caught:
        check_request(raw, limits, endpoint=endpoint)
    return caught.value


def test_what_is_fine_passes_unchanged():
    told = check_request(json.dumps(COMPLETION).encode(), LIMITS, endpoint=COMPLETIONS)
    assert told.body == COMPLETION
    assert told.texts == ("Hello, 世界",)
    assert told.n_answer_tokens == 8
    parts = {
        **CHAT,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
    }
    assert check_request(json.dumps(parts).encode(), LIMITS, endpoint=CHATS).texts == ("a", "b")
    ids = check_request(json.dumps(COMPLETION | {"prompt": [1, 2, 3]}).encode(), LIMITS, endpoint=COMPLETIONS)
    assert (ids.n_prompt_tokens, ids.texts) == (3, ())
    assert check_request(json.dumps(COMPLETION).encode(), LIMITS, endpoint=COMPLETIONS, count=len).n_prompt_tokens == 9


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_tokens": True}, "max_tokens"),  # S4: a boolean is not a number
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 8.0}, "max_tokens"),
        ({"max_tokens": "8"}, "max_tokens"),
        ({"max_tokens": 201}, "max_tokens"),
        ({"temperature": True}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"n": 1000}, "n"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": 3}}, "stream_options.include_usage"),
        ({"stop": [3]}, "stop"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [1, True]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"model": 5}, "model"),
        ({"seed": 2**63}, "seed"),
        ({"best_of": 100}, "best_of"),
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
        ([{"role": 3, "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]}],
            "messages[0].content",
        ),
    ],
)
def test_odd_messages_are_named(messages, where):
    assert refusal({**CHAT, "messages": messages}, endpoint=CHATS).field == where


def test_images_come_along_and_are_not_fetched():
    allowed = Limits(allow_images=True)

    def asked(url):
        part = {"type": "image_url", "image_url": {"url": url}}
        return json.dumps({**CHAT, "messages": [{"role": "user", "content": [part]}]}).encode()

    assert check_request(asked("data:image/png;base64,AAAA"), allowed, endpoint=CHATS)
    assert (
        "images are not"
        in refusal(
            json.loads(asked("data:image/png;base64,AAAA")), endpoint=CHATS, limits=Limits(allow_images=False)
        ).cause
    )
    for url in ("http://169.254.169.254/latest", "file:///etc/passwd"):
        assert check_request(asked(url), Limits(allow_remote_media=True), endpoint=CHATS)
        assert "fetch no other URL" in refusal(asked(url), endpoint=CHATS, limits=allowed).cause


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
        (b'{"a":' * 70 + b"1" + b"}" * 70, "too_deep"),
        (b'"' + b"x" * 200_000 + b'"', "too_large"),
        (b'{"model": "x"}', "missing_field"),
    ],
)
def test_what_is_no_request_is_refused_with_its_reason(raw, code):
    error = refusal(raw)
    assert error.code == code
    assert error.status == (413 if code == "too_large" else 400)


def test_brackets_in_texts_are_no_nesting():
    body = COMPLETION | {"prompt": '[{"' * 100 + "\\"}
    assert check_request(json.dumps(body).encode(), LIMITS, endpoint=COMPLETIONS)


TEXTS = (
    "tab\tand\nline\r\nends",
    "Grüße",
    "日本語",
    "👍🏽",
    "👨‍👩‍👧",
    "\u05d0\u200f!",
    "soft\u00adhyphen",
    "ไทย\u200bคำ",
    "e\u0301",
)
FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize("text", [*TEXTS, FLAG, "\x00", "\u202eabc", "\ufeff"])
def test_any_unicode_text_passes(text):
    assert check_request(json.dumps(COMPLETION | {"prompt": text}).encode(), LIMITS, endpoint=COMPLETIONS)
    body = {**CHAT, "messages": [{"role": "user", "content": text}]}
    assert check_request(json.dumps(body, ensure_ascii=False).encode(), LIMITS, endpoint=CHATS).texts == (text,)


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\u202e", "\U000e0041", "\x85"])
def test_characters_that_hide_text_are_refused_by_a_rule_alone(char):
    rule = Limits(refuse_hidden=True)
    assert refusal(COMPLETION | {"prompt": f"Hello{char} there"}, limits=rule).code == "hidden_character"
    for text in (*TEXTS, FLAG):
        assert check_request(json.dumps(COMPLETION | {"prompt": text}).encode(), rule, endpoint=COMPLETIONS)


def test_what_is_no_unicode_is_refused_with_its_place():
    error = refusal({**CHAT, "messages": [{"role": "user", "content": "\ud800"}]}, endpoint=CHATS)
    assert (error.code, error.field) == ("broken_text", "messages[0].content")


UNKNOWN = {
    "guided_regex": "a+",
    "logit_bias": {"1": 100},
    "chat_template_kwargs": {"enable_thinking": False},
    "x": None,
}
NULLS = dict.fromkeys(["max_tokens", "temperature", "seed", "stop", "n", "stream", "stream_options", "user", "top_k"])
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURNS = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "rain"}]},
    {"role": "assistant", "content": "", "reasoning_content": "x", "refusal": None},
]
TOOLS = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "reasoning_effort": "low",
    "metadata": {"a": "b"},
    "logprobs": True,
    "top_logprobs": 3,
}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CHATS, CHAT | UNKNOWN),
        (CHATS, CHAT | NULLS),
        (CHATS, CHAT | TOOLS | {"messages": TURNS}),
        (CHATS, {"messages": CHAT["messages"]}),
        (COMPLETIONS, COMPLETION | UNKNOWN | {"prompt": ["a", "b"]}),
        (COMPLETIONS, COMPLETION | NULLS | {"prompt": [[1, 2], [3]]}),
        (COMPLETIONS, {"model": "m", "prompt_embeds": "AAAA"}),
        (RESPONSE, {"model": "m", "input": "Hello", "tools": [{"type": "web_search"}], "store": False}),
        (RESPONSE, {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}),
        (RESPONSE, {"model": "m", "input": [{"type": "function_call_output", "call_id": "1", "output": "rain"}]}),
        (EMBEDDING, {"model": "m", "input": ["a", "b"], "dimensions": 8, "encoding_format": "base64"}),
        (EMBEDDING, {"model": "m", "input": [[1, 2], [3]]}),
        (TOKENIZE, {"model": "m", "prompt": "a", "add_special_tokens": False}),
        (TOKENIZE, {"messages": TURNS}),
        (ENDPOINTS["/detokenize"], {"model": "m", "tokens": [1, 2]}),
    ],
)
def test_what_the_apis_accept_passes(endpoint, body):
    checked = check_request(json.dumps(body).encode(), LIMITS, endpoint=endpoint)
    assert checked.body == body
    assert {k: v for k, v in checked.forwarded.items() if k not in checked.added} == {
        k: v for k, v in body.items() if k not in checked.added
    }


def test_a_limit_is_written_where_it_is_left_out_and_usage_is_asked_of_streams():
    free = {k: v for k, v in CHAT.items() if k != "max_tokens"} | {"stream": True, "stream_options": {"x": 1}}
    checked = check_request(json.dumps(free).encode(), LIMITS, endpoint=CHATS)
    assert checked.added == {"max_tokens": 200, "stream_options": {"x": 1, "include_usage": True}}
    assert not checked.wants_usage
    assert check_request(json.dumps(CHAT).encode(), LIMITS, endpoint=CHATS).added == {}
    several = check_request(
        json.dumps(COMPLETION | {"n": 3, "prompt": ["a", "b"]}).encode(), LIMITS, endpoint=COMPLETIONS
    )
    assert several.n_answer_tokens == 8 * 3 * 2


def test_a_rule_refuses_fields():
    assert (
        refusal(COMPLETION | {"guided_regex": "a"}, limits=Limits(refuse_fields=("guided_regex",))).field
        == "guided_regex"
    )


def test_tokens_are_budgeted():
    assert refusal(COMPLETION | {"prompt": "x" * 3300}).code == "too_many_tokens"
    assert refusal(COMPLETION | {"prompt": "x" * 2900, "max_tokens": 150}).code == "too_many_tokens"
    assert check_request(
        json.dumps(COMPLETION | {"prompt": "x" * 2700, "max_tokens": 100}).encode(), LIMITS, endpoint=COMPLETIONS
    )


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_pass_or_be_refused(raw):
    with suppress(BadRequest):
        check_request(raw, LIMITS, endpoint=COMPLETIONS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["model", "prompt", "messages", "n", "stop", "stream", "max_tokens"]), json_values),
    st.sampled_from(list(ENDPOINTS.values())),
)
def test_no_json_does_either(body, endpoint):
    with suppress(BadRequest):
        assert check_request(json.dumps(body).encode(), LIMITS, endpoint=endpoint).body == body


@pytest.mark.parametrize(("field", "value"), [("n", "\ud800"), ("stream", "\udfff"), ("\ud800", 1)])
def test_half_of_a_pair_of_surrogates_is_refused_with_its_field(field, value):
    refused = refusal({**COMPLETION, field: value})
    assert refused.status == 400
    assert refused.field == field.encode("ascii", "backslashreplace").decode()
