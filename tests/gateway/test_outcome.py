"""What counts as a failure of a version is what its clients could not use; every such version goes back by itself, the same version takes over."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web
from support.gateway_inside import asked, gateway_before

from workbench.gateway.outcome import AnswerCheck
from workbench.release.journal import Phase

EVENT = b'data: {"choices": [{"index": 0, "text": "a", "finish_reason": null}]}\n\n'
LAST = b'data: {"choices": [{"index": 0, "text": "b", "finish_reason": "length"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ROLE = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n'
TOOL = b'data: {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}]}\n\n'
CHAT_LAST = b'data: {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}\n\n'
ERROR = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'


@pytest.mark.parametrize(
    ("stream", "is_usable"),
    [
        (EVENT + LAST + DONE, True),
        (EVENT + LAST, True),
        (EVENT + DONE, True),
        ((EVENT + LAST + DONE).replace(b"\n", b"\r\n"), True),
        ((EVENT + DONE).replace(b"data: ", b"data:"), True),
        (b": ping\n\n" + ROLE + TOOL + CHAT_LAST + DONE, True),
        (b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"text": "a"}}\n\n'
         b'event: message_stop\ndata: {"type": "message_stop"}\n\n', True),
        (EVENT, False),
        (EVENT + ERROR + DONE, False),
        (EVENT + b'event: error\ndata: {"message": "x"}\n\n' + DONE, False),
        (ROLE + DONE, False),
        (b": ping\n\n" * 5 + DONE, False),
        (DONE, False),
        (b"", False),
        (EVENT[:20], False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_is_usable_when_it_has_content_an_end_and_no_error(stream, is_usable, size):
    check = AnswerCheck(is_stream=True)
    for i in range(0, len(stream), size):
        check.feed(stream[i : i + size])
    assert check.is_usable() is is_usable


@pytest.mark.parametrize(
    ("answer", "is_usable"),
    [
        ({"choices": [{"text": "a"}]}, True),
        ({"choices": [{"message": {"role": "assistant", "content": "a"}}]}, True),
        ({"choices": [{"message": {"content": None, "tool_calls": [{"function": {"name": "f"}}]}}]}, True),
        ({"data": [{"embedding": [0.0, 0.5]}]}, True),
        ({"output": [{"content": [{"type": "output_text", "text": "a"}]}]}, True),
        ({"choices": [{"text": ""}]}, False),
        ({"choices": []}, False),
        ({"error": {"message": "x"}, "choices": [{"text": "a"}]}, False),
        ([], False),
        ({}, False),
    ],
)
def test_a_whole_answer_is_usable_when_it_has_content_and_no_error(answer, is_usable):
    check = AnswerCheck(is_stream=False)
    check.feed(json.dumps(answer).encode())
    assert check.is_usable() is is_usable


def test_an_answer_that_is_no_json_is_not_usable():
    check = AnswerCheck(is_stream=False)
    check.feed(b"<html>")
    assert not check.is_usable()


async def streamed(request, *chunks, pause_s=0.0):
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for chunk in chunks:
        await asyncio.sleep(pause_s)
        await response.write(chunk)
    return response


async def silent(_):
    await asyncio.sleep(60)
    return web.Response()


async def stalled(request):
    response = await streamed(request, EVENT)
    await asyncio.sleep(60)
    return response


async def cut(request):
    response = await streamed(request, EVENT)
    request.transport.close()
    return response


VERSIONS = {
    "the same": lambda request: streamed(request, EVENT, LAST, DONE),
    "500, as the old one": lambda request: asyncio.sleep(0, web.Response(status=500)),
    "404": lambda request: asyncio.sleep(0, web.json_response({"error": {"message": "no model"}}, status=404)),
    "429": lambda request: asyncio.sleep(0, web.json_response({"error": {"message": "too many"}}, status=429)),
    "empty 200": lambda request: asyncio.sleep(0, web.Response(body=b"", content_type="text/event-stream")),
    "only the end": lambda request: streamed(request, DONE),
    "error event": lambda request: streamed(request, EVENT, ERROR, DONE),
    "ended early": lambda request: streamed(request, EVENT),
    "connection cut": cut,
    "silence": silent,
    "silence after a token": stalled,
    "slow": lambda request: streamed(request, EVENT, LAST, DONE, pause_s=0.15),
}


@pytest.mark.parametrize("kind", VERSIONS)
def test_a_version_that_clients_cannot_use_goes_back_and_the_same_version_takes_over(kind, tmp_path):
    async def rolled_out():
        handlers = {"v1": VERSIONS[kind if "as the old one" in kind else "the same"], "v2": VERSIONS[kind]}
        async with gateway_before(
            handlers, tmp_path, steps=(0.5, 1.0), least_requests=60, silence_s=0.3, late_ttft_s=0.1
        ) as gateway:
            left = asyncio.Semaphore(8)

            async def one():
                async with left:
                    if gateway.rollout.phase is Phase.RUNNING:
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(asked(gateway, stream=True), 1.0)

            await asyncio.gather(*(one() for _ in range(400)))
            return gateway.rollout

    with ThreadPoolExecutor(1) as pool:  # a browser that was driven before leaves a loop running in this thread
        rollout = pool.submit(lambda: asyncio.run(rolled_out())).result()
    expected = {"the same": Phase.PROMOTED, "500, as the old one": Phase.RUNNING}.get(kind, Phase.ROLLED_BACK)
    assert (rollout.phase, rollout.step) == (expected, int(expected is Phase.PROMOTED)), rollout.state
