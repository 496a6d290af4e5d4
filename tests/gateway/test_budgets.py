"""What a tenant is charged is what the server made, over the shapes of requests and streams that clients and servers use."""

import asyncio

import aiohttp
import pytest
from support.openai_upstream import Upstream, gateway_to, in_a_loop, spent, until

from workbench.gateway.event_stream import EventReader

MANY = {"anonymous": {"tokens_per_s": 1e-6, "tokens_at_once": 1e6, "requests_at_once": 1e6}}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Tell me of the sea and of its many fish"}]}
SHORT = {"model": "m", "messages": [{"role": "user", "content": "hi"}] * 300}
PROMPT = {"model": "m", "prompt": "Once upon a time there was a server", "max_tokens": 20}
STREAM = {"stream": True}
TOOL = {
    "messages": [{"role": "user", "content": "x"}],
    "tools": [{"type": "function", "function": {"name": "weather"}}],
}
COMPLETIONS, CHATS = "/v1/completions", "/v1/chat/completions"
SHAPES = {
    "whole completion": (Upstream(), COMPLETIONS, PROMPT),
    "whole chat": (Upstream(), CHATS, CHAT),
    "whole, n = 3": (Upstream(), CHATS, CHAT | {"n": 3, "max_tokens": 10}),
    "whole, limit left out": (Upstream(), COMPLETIONS, {"model": "m", "prompt": "a b"}),
    "whole without usage": (Upstream(usage="never"), CHATS, CHAT | {"max_tokens": 30}),
    "many short messages": (Upstream(), CHATS, SHORT | {"max_tokens": 5}),
    "token ids": (Upstream(), COMPLETIONS, PROMPT | {"prompt": list(range(50))}),
    "batch of prompts": (Upstream(), COMPLETIONS, PROMPT | {"prompt": ["a b", "c d e"]}),
    "stream": (Upstream(), CHATS, CHAT | STREAM),
    "stream, usage asked": (Upstream(), CHATS, CHAT | STREAM | {"stream_options": {"include_usage": True}}),
    "stream, n = 3": (Upstream(), CHATS, CHAT | STREAM | {"n": 3, "max_tokens": 10}),
    "stream, n = 2, running usage": (Upstream(usage="running"), CHATS, CHAT | STREAM | {"n": 2, "max_tokens": 10}),
    "stream, several tokens an event": (Upstream(per_event=8), COMPLETIONS, PROMPT | STREAM),
    "stream, no blank": (Upstream(framing="no blank"), CHATS, CHAT | STREAM),
    "stream, CRLF": (Upstream(framing="crlf"), CHATS, CHAT | STREAM),
    "stream, event lines": (Upstream(framing="named"), CHATS, CHAT | STREAM),
    "stream, comments": (Upstream(framing="pings"), CHATS, CHAT | STREAM),
    "stream, usage always": (Upstream(usage="always"), CHATS, CHAT | STREAM),
    "stream without usage": (Upstream(usage="never", per_event=8), CHATS, CHAT | STREAM | {"max_tokens": 37}),
    "stream cut by the server": (Upstream(cut_after=5), CHATS, CHAT | STREAM),
    "responses": (Upstream(), "/v1/responses", {"model": "m", "input": "Hello there"}),
    "responses, stream": (Upstream(), "/v1/responses", {"model": "m", "input": "Hello there", "stream": True}),
    "embeddings": (Upstream(), "/v1/embeddings", {"model": "m", "input": ["a b c", "d"]}),
    "tokenize": (Upstream(), "/tokenize", {"model": "m", "prompt": "a b c"}),
}


async def asked(gateway, path, body):
    async with aiohttp.ClientSession() as session, session.post(gateway.url + path, json=body) as response:
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize("shape", SHAPES)
def test_charged_is_what_was_made(shape):
    how, path, body = SHAPES[shape]

    async def work():
        async with gateway_to(how, **MANY) as gateway:
            status, _, answer = await asked(gateway, path, body)
            assert status == 200
            assert await spent(gateway) == pytest.approx(how.made, rel=0.01)
            return answer

    answer = in_a_loop(work)
    if body.get("stream"):
        options = body.get("stream_options") or {}
        events = [e.message for e in read(answer) if e.data != b"[DONE]"]
        assert any(e.get("usage") for e in events) == bool(options.get("include_usage"))
        if how.cut_after is None and "responses" not in path:
            assert answer.rstrip().endswith(b"[DONE]")


def read(answer):
    reader = EventReader()
    return [e for i in range(0, len(answer), 11) for e in reader.feed(answer[i : i + 11]) if e.data]


@pytest.mark.parametrize("has_tokenizer", [True, False])
def test_a_client_that_leaves_a_stream_pays_for_what_was_made(has_tokenizer):
    how = Upstream(has_tokenizer=has_tokenizer)

    async def work():
        async with gateway_to(how, **MANY) as gateway:
            await asked(gateway, CHATS, CHAT | {"max_tokens": 40})
            before = await spent(gateway)
            assert before == pytest.approx(how.made)
            how.delay_s, how.prompt_made, how.answer_made = 0.02, 0, 0
            async with aiohttp.ClientSession() as session:
                response = await session.post(gateway.url + CHATS, json=CHAT | {"max_tokens": 40, "stream": True})
                for _ in range(10):
                    await response.content.readuntil(b"\n\n")
                response.close()
            return await spent(gateway) - before

    charged = in_a_loop(work)
    assert how.n_stopped == 1
    estimated = 0 if has_tokenizer else how.made * 0.5  # without a tokenizer the prompt is an estimate
    assert charged == pytest.approx(how.made, abs=2 + estimated)  # an event may have been on its way


async def left_alone(gateway, how, path, body):
    """Ask, and leave as soon as the server computes; return what was charged."""
    before, how.prompt_made, how.answer_made, how.delay_s = await spent(gateway), 0, 0, how.delay_s or 0.3
    async with aiohttp.ClientSession() as session:
        asking = asyncio.ensure_future(session.post(gateway.url + path, json=body))
        await until(lambda: how.prompt_made)
        asking.cancel()
    return await spent(gateway) - before


@pytest.mark.parametrize("more", [{}, {"n": 3}, {"max_tokens": 7}])
@pytest.mark.parametrize("path", [COMPLETIONS, CHATS])
def test_a_client_that_leaves_a_whole_answer_pays_what_the_server_reports(path, more):
    how = Upstream()

    async def work():
        async with gateway_to(how, cache_bytes=10**6, **MANY) as gateway:
            body = (CHAT if path == CHATS else PROMPT) | {"temperature": 0} | more
            charged = await left_alone(gateway, how, path, body)
            assert how.answer_made
            assert charged == pytest.approx(how.made, abs=0.01)
            if "n" not in more:  # the answer was kept, and is not computed again
                how.delay_s = 60.0
                status, _, _ = await asked(gateway, path, body)
                assert status == 200
                assert await spent(gateway) == pytest.approx(charged, abs=0.01)

    in_a_loop(work)


def test_a_whole_answer_is_awaited_for_a_bounded_time_and_then_estimated():
    how = Upstream()

    async def work():
        async with gateway_to(how, abandoned_answer_s=0.2, **MANY) as gateway:
            await asked(gateway, CHATS, CHAT | {"max_tokens": 40})  # from which the rate of a whole answer is known
            how.delay_s = 60.0
            charged = await left_alone(gateway, how, CHATS, CHAT | {"max_tokens": 40})
            assert how.answer_made == 0
            assert how.prompt_made <= charged <= how.prompt_made + 60

    in_a_loop(work)


def test_an_answer_that_fails_after_its_client_left_is_not_charged():
    how = Upstream(delay_s=0.3, fail_late=True)

    async def work():
        async with gateway_to(how, **MANY) as gateway:
            assert await left_alone(gateway, how, CHATS, CHAT) == 0

    in_a_loop(work)


def test_what_was_not_served_is_not_charged():
    how = Upstream(fail=[(503, {"Retry-After": "7"}), (429, {}), (500, {}), (400, {})])

    async def work():
        async with gateway_to(how, **MANY) as gateway:
            answers = [await asked(gateway, CHATS, CHAT) for _ in range(4)]
            requests = next(iter(gateway.accounts._limits.values()))[0]._buckets
            left = min(requests.level(key) for key in requests._levels) if len(requests) else requests.rate.burst
            return answers, await spent(gateway), requests.rate.burst - left

    answers, tokens, requests = in_a_loop(work)
    assert [status for status, _, _ in answers] == [503, 429, 500, 400]
    assert answers[0][1]["Retry-After"] == "7"
    assert tokens == 0
    assert requests <= 1  # the one that the server refused as wrong


def test_errors_and_cut_streams_are_not_kept_and_hits_count_against_the_rate():
    how = Upstream()
    greedy = CHAT | STREAM | {"temperature": 0}

    async def work():
        async with gateway_to(how, cache_bytes=1_000_000, **MANY) as gateway:
            for how.error_after, how.cut_after in ((3, None), (None, 3), (None, None), (None, None)):
                await asked(gateway, CHATS, greedy)
            assert sum("temperature" in b for b in how.bodies) == 3
        limited = {"anonymous": {"requests_per_s": 0.001, "requests_at_once": 2}}
        statuses = []
        for counts in (True, False):
            async with gateway_to(how, cache_bytes=1_000_000, count_cache_hits=counts, **limited) as gateway:
                statuses.append([(await asked(gateway, CHATS, greedy))[0] for _ in range(4)])
        assert statuses == [[200, 200, 429, 429], [200] * 4]

    in_a_loop(work)
