"""A server that answers as OpenAI's API does, in the framings that servers use, and counts what it makes."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import uvicorn
from aiohttp import web

from workbench.gateway.app import Gateway
from workbench.gateway.config import config_of

WORDS = (
    "a",
    "stream",
    "of",
    "several",
    "words",
    "that",
    "a",
    "model",
    "might",
    "have",
    "written",
    "without",
    "any",
    "hurry",
    "at",
    "all",
)


@dataclass
class Upstream:
    """How it answers, and what it has seen and made."""

    framing: str = "usual"
    words: tuple = WORDS
    per_event: int = 1
    usage: str = "asked"
    """asked: as the API says; always: without being asked; never; running: with every event."""
    has_tokenizer: bool = True
    delay_s: float = 0.0
    fail: list = field(default_factory=list)
    """Status and headers of the next answers, instead of answers."""
    cut_after: int | None = None
    """Events after which the stream ends without its end."""
    error_after: int | None = None
    fail_late: bool = False
    """Whole answers fail with 500 when they would be complete."""
    prompt_made: int = 0
    answer_made: int = 0
    bodies: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    n_stopped: int = 0
    """Streams whose client went away."""

    @property
    def made(self):
        return self.prompt_made + self.answer_made


def n_prompt_tokens(body):
    """Two for every word, and four for every message, as a tokenizer with a template might count."""
    texts = body.get("messages") or body.get("input") or body.get("prompt")
    if isinstance(texts, str):
        return 2 * len(texts.split())
    if isinstance(texts[0], int):
        return len(texts)
    if isinstance(texts[0], dict):
        return sum(4 + 2 * len(str(m.get("content") or m.get("output") or "").split()) for m in texts)
    return sum(2 * len(t.split()) if isinstance(t, str) else len(t) for t in texts)


def framed(framing, message, name=None):
    text = message if isinstance(message, str) else json.dumps(message)
    end = "\r\n" if framing == "crlf" else "\n"
    lead = "data:" if framing == "no blank" else "data: "
    event = f"event: {name or 'message'}{end}" if framing == "named" or name else ""
    return (": ping\n\n" if framing == "pings" else "").encode() + f"{event}{lead}{text}{end}{end}".encode()


class Server:
    """The handlers of the server."""

    def __init__(self, how):
        self.how = how

    async def answer(self, request):
        how, body = self.how, await request.json()
        how.bodies.append(body)
        how.headers.append(request.headers)
        if how.fail:
            status, headers = how.fail.pop(0)
            return web.json_response({"error": {"message": "busy"}}, status=status, headers=headers)
        if request.path == "/tokenize":
            if not how.has_tokenizer:
                raise web.HTTPNotFound
            return web.json_response(
                {"count": n_prompt_tokens(body) if "messages" in body else len(body["prompt"].split())}
            )
        n_prompt = n_prompt_tokens(body)
        how.prompt_made += n_prompt
        if request.path == "/v1/embeddings":
            usage = {"prompt_tokens": n_prompt, "total_tokens": n_prompt}
            data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
            return web.json_response({"object": "list", "model": "m", "data": data, "usage": usage})
        if request.path == "/v1/responses":
            return await self._response(request, body, n_prompt)
        if body.get("stream"):
            return await self._stream(request, body, n_prompt)
        await asyncio.sleep(how.delay_s)
        if how.fail_late:
            return web.json_response({"error": {"message": "out of memory"}}, status=500)
        return web.json_response(self._whole(request.path, body, n_prompt))

    def _tokens(self, body):
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or body.get("max_output_tokens")
        return [self.how.words[i % len(self.how.words)] + " " for i in range(min(limit or 40, 40))]

    def _whole(self, path, body, n_prompt):
        how, tokens = self.how, self._tokens(body)
        n = body.get("n") or 1
        how.answer_made += n * len(tokens)
        message = {"role": "assistant", "content": "".join(tokens)}
        if body.get("tools") and not any(m.get("role") == "tool" for m in body["messages"]):
            message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        if body.get("response_format"):
            message["content"] = '{"city": "Rome"}'
        choice = {"message": message} if "chat" in path else {"text": "".join(tokens)}
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        answer = {"id": "c", "object": "chat.completion", "created": 0, "model": "m"}
        answer["choices"] = [{"index": i, "finish_reason": reason, **choice} for i in range(n)]
        if how.usage != "never":
            answer["usage"] = usage_of(n_prompt, n * len(tokens))
        return answer

    async def _stream(self, request, body, n_prompt):
        how, tokens = self.how, self._tokens(body)
        n, is_chat = body.get("n") or 1, "chat" in request.path
        options = body.get("stream_options") or {}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        n_events = n_made = 0
        head = {
            "id": "c",
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": 0,
            "model": "m",
        }
        try:
            for at in range(0, len(tokens), how.per_event):
                await asyncio.sleep(how.delay_s)
                for i in range(n):
                    piece = tokens[at : at + how.per_event]
                    n_made += len(piece)
                    how.answer_made += len(piece)
                    text = "".join(piece)
                    choice = {
                        "index": i,
                        "finish_reason": None,
                        **({"delta": {"content": text}} if is_chat else {"text": text}),
                    }
                    event = head | {"choices": [choice]}
                    if how.usage == "running":
                        event["usage"] = usage_of(n_prompt, at + len(piece))
                    elif how.usage == "asked" and options.get("include_usage"):
                        event["usage"] = None
                    await response.write(framed(how.framing, event))
                n_events += 1
                if how.error_after == n_events:
                    await response.write(framed(how.framing, {"error": {"message": "out of memory", "code": 500}}))
                    return response
                if how.cut_after == n_events:
                    return response
        except (ConnectionError, asyncio.CancelledError):
            how.n_stopped += 1
            raise
        last = {"delta": {}} if is_chat else {"text": ""}
        for i in range(n):
            await response.write(
                framed(how.framing, head | {"choices": [{"index": i, "finish_reason": "stop", **last}]})
            )
        if how.usage == "always" or (how.usage in {"asked", "running"} and options.get("include_usage")):
            await response.write(framed(how.framing, head | {"choices": [], "usage": usage_of(n_prompt, n_made)}))
        await response.write(framed(how.framing, "[DONE]"))
        return response

    async def _response(self, request, body, n_prompt):
        how, tokens = self.how, self._tokens(body)
        how.answer_made += len(tokens)
        usage = {"input_tokens": n_prompt, "output_tokens": len(tokens), "total_tokens": n_prompt + len(tokens)}
        part = {"type": "output_text", "text": "".join(tokens), "annotations": []}
        item = {"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        whole = {
            "id": "r",
            "object": "response",
            "created_at": 0,
            "model": "m",
            "status": "completed",
            "output": [item],
        }
        whole |= {"usage": usage, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        if not body.get("stream"):
            return web.json_response(whole)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        kind = "response.output_text.delta"
        for i, token in enumerate(tokens):
            delta = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": i, "logprobs": []}
            await response.write(framed(how.framing, {"type": kind, "delta": token, **delta}, kind))
        done = {"type": "response.completed", "sequence_number": len(tokens), "response": whole}
        await response.write(framed(how.framing, done, "response.completed"))
        return response


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


def usage_of(n_prompt, n_answer):
    return {"prompt_tokens": n_prompt, "completion_tokens": n_answer, "total_tokens": n_prompt + n_answer}


@contextlib.asynccontextmanager
async def upstream(how):
    """The URL of a server in this loop."""
    app, server = web.Application(), Server(how)
    app.router.add_post("/{path:.*}", server.answer)
    app.router.add_get("/v1/models", _models)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _models(request):
    return web.json_response(
        {"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "x"}]}
    )


@contextlib.asynccontextmanager
async def gateway_to(how, *, keys=None, **config):
    """A gateway before such a server, in this loop; its URL is its attribute. ``keys`` say where the server's key is."""
    async with upstream(how) as url:
        values = {"upstreams": [{"name": "one", "url": url, **(keys or {})}], "health_every_s": 0} | config
        gateway = Gateway(config_of(values))
        server = uvicorn.Server(uvicorn.Config(gateway, port=0, log_level="error", lifespan="on"))
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started or serving.done())
        gateway.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield gateway
        finally:
            server.should_exit = True
            await serving


def in_a_loop(work):
    """Run in a thread of its own: a browser that was driven before leaves a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


async def until(condition):
    """Return as soon as a condition holds; an ``AssertionError`` when it does not in time."""
    for _ in range(12_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def spent(gateway):
    """Tokens that were charged, after everything was settled."""
    await until(lambda: not gateway.slots.limit.n_under_way and not gateway._parts.relay._settling)
    if not gateway.accounts._limits:
        return 0.0
    tokens = next(iter(gateway.accounts._limits.values()))[1]._buckets
    return sum(tokens.rate.burst - tokens.level(key) for key in tokens._levels)
