"""The in-process engines behind an OpenAI-compatible interface, so that one client measures all engines.

python -m workbench.engines.openai_server --engine torch --model FOLDER --name NAME --port 8000
"""

import argparse
import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from workbench.core.errors import WorkbenchError
from workbench.core.ports import Engine, Generation, LocalEngine, TokenEvent
from workbench.engines.server_metrics import ServerMetrics

MAX_AT_ONCE = 512


class OpenAiServer:
    """Routes of one engine.

    Args:
        engine: Generates; is closed with the application.
        name: Name under which the model is served.
    """

    def __init__(self, engine: LocalEngine, *, name: str) -> None:
        self.engine, self.name = engine, name
        self.metrics = ServerMetrics(engine.counters)
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE)
        self.app = web.Application(client_max_size=64 << 20)
        self.app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/version", self._version),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/tokenize", self._tokenize),
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat),
            ]
        )
        self.app.on_cleanup.append(self._close)

    async def _close(self, _: web.Application) -> None:
        self.engine.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self.engine.describe()))

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.page(), content_type="text/plain")

    async def _models(self, _: web.Request) -> web.Response:
        root = self.engine.describe().get("model")
        return web.json_response({"object": "list", "data": [{"id": self.name, "object": "model", "root": root}]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        try:
            text = str((await request.json())["prompt"])
        except (ValueError, KeyError, TypeError) as error:
            return _error(400, f"{type(error).__name__}: {error}")
        try:
            ids = await asyncio.get_running_loop().run_in_executor(self._threads, self.engine.tokenize, text)
        except WorkbenchError as error:
            return _error(400, str(error))
        return web.json_response({"count": len(ids), "tokens": ids})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=True)

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        try:
            asked = await request.json()
            wish = self._wish(asked, chat=chat)
        except (ValueError, KeyError, TypeError) as error:
            return _error(400, f"{type(error).__name__}: {error}")
        if asked.get("model") != self.name:
            return _error(404, f"The model `{asked.get('model')}` does not exist.")
        reply = _Reply(asked, name=self.name, chat=chat)
        events = self._events(wish)
        try:
            first = await anext(events)
        except WorkbenchError as error:
            self.metrics.failed.inc()
            return _error(400, str(error))
        if not asked.get("stream"):
            return await self._whole(reply, first, events)
        return await self._stream(request, reply, first, events)

    @staticmethod
    def _wish(asked: Mapping[str, Any], *, chat: bool) -> Generation:
        if chat:
            # Models without a chat template read the messages one after the other.
            prompt: Any = "\n".join(str(m["content"]) for m in asked["messages"])
        else:
            prompt = asked["prompt"]
            prompt = tuple(prompt) if isinstance(prompt, list) else prompt
        limit = asked.get("max_completion_tokens") or asked.get("max_tokens") or 16
        if asked.get("temperature") not in {None, 0} or asked.get("n", 1) != 1:
            raise ValueError("these engines generate greedily: temperature 0, n 1")
        return Generation(prompt=prompt, max_tokens=int(limit), ignore_eos=bool(asked.get("ignore_eos")))

    async def _whole(self, reply: "_Reply", first: TokenEvent, events: AsyncIterator[TokenEvent]) -> web.Response:
        parts = [first]
        try:
            parts += [e async for e in events]
        except WorkbenchError as error:
            return _error(500, str(error))
        return web.json_response(reply.whole(parts))

    async def _stream(
        self, request: web.Request, reply: "_Reply", first: TokenEvent, events: AsyncIterator[TokenEvent]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        last = first
        try:
            await response.write(reply.chunk(first))
            async for event in events:
                await response.write(reply.chunk(event))
                last = event
            if reply.usage_at_end:
                await response.write(reply.usage_chunk(last))
        except WorkbenchError as error:
            await response.write(b"data: " + json.dumps({"error": {"message": str(error)}}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _events(self, wish: Generation) -> AsyncIterator[TokenEvent]:
        """The engine's events, fetched by a thread; leaving early ends the thread's work."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[TokenEvent | Exception | None] = asyncio.Queue()
        stop = threading.Event()
        started = previous = time.perf_counter()

        def put(item: TokenEvent | Exception | None) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, item)

        self.metrics.under_way.inc()
        loop.run_in_executor(self._threads, _fetch, self.engine, wish, put, stop)
        last: TokenEvent | None = None
        first_s = started
        try:
            while (item := await arrived.get()) is not None:
                if isinstance(item, Exception):
                    self.metrics.failed.inc()
                    raise item
                if last is None:
                    first_s = item.at_s
                    prefill_s = None if item.began_at_s is None else first_s - item.began_at_s
                    self.metrics.began(first_s - started, queued_s=item.queued_s, prefill_s=prefill_s)
                else:
                    self.metrics.gap.observe(item.at_s - previous)
                previous, last = item.at_s, item
                yield item
            if last is not None:
                self.metrics.ended(
                    e2e_s=previous - started,
                    decode_s=previous - first_s,
                    n_input=last.n_input_tokens or 0,
                    n_output=last.n_output_tokens or 0,
                )
        finally:
            stop.set()
            self.metrics.under_way.dec()
            if last is not None:
                self.metrics.prompt.inc(last.n_input_tokens or 0)
                self.metrics.generated.inc(last.n_output_tokens or 0)


def _fetch(engine: Engine, wish: Generation, put: Callable[[Any], None], stop: threading.Event) -> None:
    try:
        events = engine.generate(wish)
        for event in events:
            put(event)
            if stop.is_set():
                events.close()  # type: ignore[attr-defined]
                break
        put(None)
    except WorkbenchError as error:
        put(error)
    except Exception as error:
        put(WorkbenchError(f"The engine failed with {type(error).__name__}: {error}.", remedy="See the server's log."))


class _Reply:
    """The JSON around the text."""

    def __init__(self, asked: Mapping[str, Any], *, name: str, chat: bool) -> None:
        self.chat = chat
        options = asked.get("stream_options") or {}
        self.usage_at_end = bool(options.get("include_usage"))
        self._each = bool(options.get("continuous_usage_stats"))
        self._ids = bool(asked.get("return_token_ids"))
        kind = ("chat.completion" if chat else "text_completion") + (".chunk" if chat and asked.get("stream") else "")
        prefix = "chatcmpl" if chat else "cmpl"
        self._frame = {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}

    def chunk(self, event: TokenEvent) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": event.finish_reason}
        choice |= {"delta": {"content": event.text}} if self.chat else {"text": event.text}
        if self._ids:
            choice["token_ids"] = list(event.token_ids)
        message = {**self._frame, "choices": [choice]} | ({"usage": _usage(event)} if self._each else {})
        return b"data: " + json.dumps(message).encode() + b"\n\n"

    def usage_chunk(self, event: TokenEvent) -> bytes:
        return b"data: " + json.dumps({**self._frame, "choices": [], "usage": _usage(event)}).encode() + b"\n\n"

    def whole(self, events: list[TokenEvent]) -> dict[str, Any]:
        text, last = "".join(e.text for e in events), events[-1]
        choice: dict[str, Any] = {"index": 0, "finish_reason": last.finish_reason}
        choice |= {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        return {**self._frame, "choices": [choice], "usage": _usage(last)}


def _usage(event: TokenEvent) -> dict[str, int]:
    n_in, n_out = event.n_input_tokens or 0, event.n_output_tokens or 0
    return {"prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out}


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": {"message": text, "code": status}}, status=status)


def open_engine(
    kind: str, folder: Path, *, device: str, dtype: str | None, random_weights: bool, **limits: int | None
) -> LocalEngine:
    """A torch or ONNX engine on a model folder; ``limits`` are the torch engine's ``kv_tokens`` and ``max_num_seqs``."""
    if kind == "onnx":
        from workbench.engines.onnx_engine import OnnxEngine

        return OnnxEngine(folder)
    from workbench.engines.torch_engine import TorchEngine

    return TorchEngine(folder, device=device, dtype=dtype, random_weights=random_weights, **limits)


def main() -> None:
    """Serve until the process is told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("torch", "onnx"), required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype")
    parser.add_argument("--random-weights", action="store_true")
    parser.add_argument("--kv-tokens", type=int, help="tokens that the KV cache holds (torch)")
    parser.add_argument("--max-num-seqs", type=int, help="most requests that share a forward pass (torch)")
    a = parser.parse_args()
    engine = open_engine(
        a.engine,
        a.model,
        device=a.device,
        dtype=a.dtype,
        random_weights=a.random_weights,
        kv_tokens=a.kv_tokens,
        max_num_seqs=a.max_num_seqs,
    )
    server = OpenAiServer(engine, name=a.name)
    web.run_app(server.app, host="127.0.0.1", port=a.port, access_log=None, print=None, shutdown_timeout=1.0)


if __name__ == "__main__":
    main()
