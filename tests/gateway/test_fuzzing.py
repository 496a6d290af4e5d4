"""Requests that nobody would write, from several tenants at once: no failure of the gateway, nothing unredacted, nothing of another tenant.

A few hundred requests, the same ones in every run; ``FUZZ_SECONDS=600 pytest tests/gateway/test_fuzzing.py`` goes on with further ones for ten minutes.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import time

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from support.openai_upstream import in_a_loop, until

from workbench.gateway.app import Gateway
from workbench.gateway.config import config_of, key_digest

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
FEWEST, AT_ONCE, SEED = 240, 4, 20_261_130
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize", "/detokenize")
SECRETS = {
    "4111 1111 1111 1111": "411111111111",
    "DE89370400440532013000": "370400440532",
    "jane.roe@example.com": "jane.roe",
    "+1 415 555 2671": "4155552671",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789": "ghpabcdefgh",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\n-----END PRIVATE KEY-----": "miievqibadan",
}
"""What is planted, and what must not be left of it: letters, digits and points only."""
MARKER = re.compile(r"mark([a-z])x[0-9]+")
BLANKS = (" ", "\u00a0", "\u2009", "\u3000")
VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**200, 0.5, -1e308, 1e400, "", "a", "\u0000", "\ud800", "💥" * 50),
    *([], {}, [[]], [{}], [None], {"a": {"b": [1]}}, ["x"] * 300, "9" * 5000),
)
EMPTY = {
    "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "input_tokens": 3, "output_tokens": 5}
}


def texts_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for v in value.values() if isinstance(value, dict) else value:
            yield from texts_of(v)


async def echo(request):
    """A model that repeats what it is asked and adds secrets of its own, whole or in an event for every few characters."""
    body = await request.json()
    secrets = [s for s in SECRETS if hash_of(s) % 3 != len(body) % 3]
    prompts = [body.get(k) for k in ("prompt", "messages", "input", "instructions")]
    said = " ".join([*texts_of(prompts), *secrets])[:4000]
    if request.path == "/v1/embeddings":
        return web.json_response({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], **EMPTY})
    if "tokenize" in request.path:
        return web.json_response({"count": len(said.split()), "prompt": said})
    if request.path == "/v1/responses":
        part = {"type": "output_text", "text": said, "annotations": []}
        whole = {"id": "r", "output": [{"type": "message", "content": [part]}], "status": "completed", **EMPTY}
        delta = lambda t: {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": t}  # noqa: E731
        last = [{"type": "response.completed", "response": whole}]
    else:
        is_chat = "chat" in request.path
        text = (lambda t: {"delta": {"content": t}}) if is_chat else (lambda t: {"text": t})
        whole = {
            "choices": [
                {"index": 0, "finish_reason": "stop", **({"message": {"content": said}} if is_chat else {"text": said})}
            ],
            **EMPTY,
        }
        delta = lambda t: {"choices": [{"index": 0, "finish_reason": None, **text(t)}]}  # noqa: E731
        last = [{"choices": [{"index": 0, "finish_reason": "stop", **text("")}]}, {"choices": [], **EMPTY}, "[DONE]"]
    if body.get("stream") is not True:
        return web.json_response(whole)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    step = 1 + len(said) % 11
    for message in [*(delta(said[i : i + step]) for i in range(0, len(said), step)), *last]:
        data = message if isinstance(message, str) else json.dumps(message)
        await response.write(f"data: {data}\n\n".encode())
    return response


def hash_of(text):
    return sum(text.encode())


def prompt(rng, tenant, n):
    words = [
        f"mark{tenant}x{n}",
        *rng.sample(list(SECRETS), rng.randint(1, 3)),
        rng.choice(("hello", "卡号", "é\u0301")),
    ]
    rng.shuffle(words)
    return rng.choice((*BLANKS, "\n", ", ")).join(words)


def request_of(rng, tenant, n):
    """Return a path and a body, right or spoilt in a few places."""
    path, text = rng.choice(PATHS), prompt(rng, tenant, n)
    content = rng.choice((text, [{"type": "text", "text": text}]))
    chat = [{"role": rng.choice(("user", "system", "tool")), "content": content}]
    body = {
        "/v1/chat/completions": {"messages": chat},
        "/v1/completions": {"prompt": rng.choice((text, [text, text]))},
        "/v1/responses": {"input": rng.choice((text, chat)), "instructions": text},
        "/v1/embeddings": {"input": text},
        "/tokenize": {"prompt": text},
        "/detokenize": {"tokens": [1, 2, 3]},
    }[path] | {"model": "m", "temperature": rng.choice((0, 1)), "max_tokens": rng.choice((1, 5, None))}
    if rng.random() < 0.4:
        body["stream"] = True
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        name = rng.choice((*body, "tools", "response_format", "logprobs", "n", "stop", "user", "stream_options", "zz"))
        body[name] = rng.choice(VALUES)
    raw = json.dumps(body).encode()
    if rng.random() < 0.1:
        at = rng.choice((0, 1, len(raw) - 2, len(raw) - 1))  # not inside of what is planted
        raw = raw[:at] + rng.randbytes(rng.randint(0, 3)) + raw[at + rng.randint(0, 1) :]
    return path, raw


def bare(text):
    """Return the letters, digits and points of an answer, with its escapes read."""
    with contextlib.suppress(ValueError):
        text = json.dumps(json.loads(text), ensure_ascii=False)
    joined = "".join("".join(texts_of(e)) for e in events_of(text)) or text
    return re.sub(r"[^a-z0-9.]", "", joined.lower())


def events_of(text):
    for line in text.splitlines():
        if line.startswith("data: {"):
            message = json.loads(line[6:])
            yield [message.get("delta"), [[c.get("text"), c.get("delta")] for c in message.get("choices", [])]]


async def one(session, url, rng, tenant, n):
    path, raw = request_of(rng, tenant, n)
    headers = {"Authorization": f"Bearer key-of-tenant-{tenant}-000001", "Content-Type": "application/json"}
    try:
        async with session.post(url + path, data=raw, headers=headers) as answer:
            text = (await answer.read()).decode("utf-8", "replace")
    except aiohttp.ClientError as error:
        raise AssertionError(path, raw) from error
    assert answer.status < 500, (answer.status, path, raw, text)
    left = bare(text)
    for planted, rest in SECRETS.items():
        assert rest not in left, (planted, path, raw, text)
    assert {m[1] for m in MARKER.finditer(left)} <= {tenant}, (tenant, path, raw, text)
    return answer.status


async def fuzz():
    app = web.Application(client_max_size=10**8)
    app.router.add_post("/{path:.*}", echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    tenants = [
        {
            "name": name,
            "key_digest": key_digest(f"key-of-tenant-{name}-000001"),
            **dict.fromkeys(("requests_per_s", "requests_at_once", "tokens_per_s", "tokens_at_once"), 1e9),
        }
        for name in "abcd"
    ]
    values = {"upstreams": [{"name": "one", "url": url}], "health_every_s": 0, "redact": True, "cache_bytes": 10**7}
    gateway = Gateway(config_of(values | {"tenants": tenants}))
    server = uvicorn.Server(uvicorn.Config(gateway, port=0, log_level="error", lifespan="on", timeout_keep_alive=300))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started or serving.done())
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    statuses, until_s = [], time.monotonic() + SECONDS

    async def work(k):
        rng = random.Random(SEED + k)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            n = 0
            while n < FEWEST // AT_ONCE or time.monotonic() < until_s:
                statuses.append(await one(session, address, rng, "abcd"[k % 4], n))
                n += 1

    try:
        await asyncio.gather(*(work(k) for k in range(AT_ONCE)))
    finally:
        server.should_exit = True
        await serving
        await runner.cleanup()
    return statuses


@pytest.mark.timeout(600 + SECONDS)
def test_no_request_breaks_the_gateway_or_gets_out_what_is_not_its_own():
    statuses = in_a_loop(fuzz)
    assert len(statuses) >= FEWEST
    assert statuses.count(200) > FEWEST / 3
    assert statuses.count(400) > FEWEST / 20
    print({status: statuses.count(status) for status in sorted(set(statuses))})
