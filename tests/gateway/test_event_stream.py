"""Events are the same however a stream is framed and cut, and pass as they came."""

from hypothesis import given
from hypothesis import strategies as st

from workbench.gateway.event_stream import EventReader
from workbench.gateway.usage import UsageMeter

FRAMES = {
    "usual": 'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n',
    "no blank": 'data:{"choices": [{"index": 0, "delta": {"content": "b"}}]}\r\n\r\n',
    "named": 'event: message\ndata: {"choices": [{"index": 1, "text": "c"}], "usage": null}\n\n',
    "several lines": 'data: {"choices":\ndata: [{"index": 1, "text": "d"}]}\n\n',
    "CR": 'data: {"choices": [{"index": 0, "delta": {"content": "e"}}]}\r\r',
    "comment": ": ping\n\n",
    "usage": 'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}\n\n',
    "done": "data: [DONE]\n\n",
}


def cut(whole, sizes):
    at = 0
    for size in [*sizes, len(whole)]:
        yield whole[at : at + size]
        at += size


@given(st.lists(st.sampled_from(list(FRAMES)), max_size=12), st.lists(st.integers(1, 30), max_size=40))
def test_cuts_change_nothing(names, sizes):
    whole = "".join(FRAMES[n] for n in names).encode()
    reader = EventReader()
    events = [e for piece in cut(whole, sizes) for e in reader.feed(piece)]
    if (last := reader.end()) is not None:
        events.append(last)
    assert b"".join(e.raw for e in events) == whole
    assert [bool(e.data) for e in events if e.raw.strip()] == [n != "comment" for n in names]
    for hides in (True, False):
        meter = UsageMeter(is_stream=True, hides_usage=hides)
        out = b"".join(meter.feed(piece) for piece in cut(whole, sizes)) + meter.end()
        assert meter.usage.answer == (5 if "usage" in names else None)
        assert sorted("".join(meter.texts)) == sorted(
            {"usual": "a", "no blank": "b", "named": "c", "several lines": "d", "CR": "e"}.get(n, "")
            for n in names
            if n not in {"comment", "usage", "done"}
        )
        assert (b'"usage"' in out) == (not hides and bool({"usage", "named"} & set(names)))
        assert meter.is_complete == ("done" in names)


def test_text_that_looks_like_usage_is_no_usage():
    meter = UsageMeter(is_stream=False, hides_usage=False)
    meter.feed(
        b'{"choices": [{"text": "\\"usage\\": {\\"completion_tokens\\": 0}"}], "usage": {"completion_tokens": 7}}'
    )
    meter.end()
    assert meter.usage.answer == 7
