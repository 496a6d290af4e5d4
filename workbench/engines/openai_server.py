"""The in-process engines behind an OpenAI-compatible interface, so that one client measures all engines.

python -m workbench.engines.openai_server --engine torch --model FOLDER --name NAME --port 8000
"""

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path

import msgspec
from aiohttp import web

from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.ports import Engine, Generation, LocalEngine, TokenEvent
from workbench.engines.http import EngineStopped
from workbench.engines.openai_replies import Reply, error_event, error_reply
from workbench.engines.openai_requests import (
    Asked,
    BadRequest,
    Prompt,
    answer_tokens,
    plain_messages,
    prompts_of,
    read_request,
)
from workbench.engines.server_metrics import ServerMetrics
from workbench.engines.stop_strings import until_stop
from workbench.engines.text import ChatTemplate

MAX_AT_ONCE = 512
MOST_BYTES = 64 << 20
Put = Callable[[TokenEvent | Exception | None], None]


class _ToTokenize(msgspec.Struct):
    prompt: str


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer what has no route, the wrong method or too large a body in the form of every other error."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return error_reply(error.status, error.text or error.reason)


class OpenAiServer:
    """Routes of one engine, which is closed with the application; the model is served under ``name``.

    Args:
        engine: What answers.
        name: Of the model.
        template: How messages become a prompt; None: their contents are joined by line ends, whatever the role.
    """

    def __init__(self, engine: LocalEngine, *, name: str, template: ChatTemplate | None = None) -> None:
        self.engine, self.name, self.template = engine, name, template
        self.metrics = ServerMetrics(engine.counters)
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE)
        self.app = web.Application(client_max_size=MOST_BYTES, middlewares=[_errors_as_json])
        self.app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/version", self._version),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/tokenize", self._tokenize),
                web.post("/v1/completions", partial(self._answer, chat=False)),
                web.post("/v1/chat/completions", partial(self._answer, chat=True)),
            ]
        )
        self.app.on_cleanup.append(self._close)

    async def _close(self, _: web.Application) -> None:
        self.engine.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _health(self, _: web.Request) -> web.Response:
        problem = self.engine.problem()
        return error_reply(503, problem) if problem else web.json_response({"status": "ok"})

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self.engine.describe()))

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.page(), content_type="text/plain")

    async def _models(self, _: web.Request) -> web.Response:
        root, longest = self.engine.describe().get("model"), self.engine.limits().max_model_len
        card = {"id": self.name, "object": "model", "created": 0, "owned_by": "workbench", "root": root}
        return web.json_response({"object": "list", "data": [card | {"max_model_len": longest}]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        try:
            text = msgspec.json.decode(await request.read(), type=_ToTokenize).prompt
            ids = await asyncio.get_running_loop().run_in_executor(self._threads, self.engine.tokenize, text)
        except (ValueError, RecursionError) as error:
            return error_reply(400, f"{type(error).__name__}: {error}")
        except WorkbenchError as error:
            return error_reply(400, str(error))
        return web.json_response({"count": len(ids), "tokens": ids})

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        started_s = time.perf_counter()
        if request.content_type != "application/json":
            return error_reply(415, "Unsupported Media Type: Only 'application/json' is allowed")
        body = await request.read()
        try:
            asked = read_request(body, chat=chat)
            if asked.model not in {None, self.name}:
                raise BadRequest(f"The model `{asked.model}` does not exist.", field="model", status=404)
            wishes = await asyncio.get_running_loop().run_in_executor(self._threads, self._wishes, asked, chat)
        except BadRequest as error:
            return error_reply(error.status, error.cause, error.field)
        except WorkbenchError as error:
            return error_reply(400, str(error), "messages" if chat else "prompt")
        reply = Reply(asked, name=self.name, chat=chat)
        async with aclosing(self._events(wishes, asked.stops, started_s)) as events:
            try:
                first = await anext(events)
            except WorkbenchError as error:
                return error_reply(503 if isinstance(error, EngineStopped) else 400, str(error))
            if not asked.stream:
                return await self._whole(reply, first, events, len(wishes))
            return await self._stream(request, reply, first, events)

    def _wishes(self, asked: Asked, chat: bool) -> list[Generation]:
        """Return what the engine is asked, all of it checked before the first part is."""
        prompts: Sequence[Prompt]
        if not chat:
            prompts = prompts_of(asked)
        else:
            messages = plain_messages(asked)
            if self.template is not None:
                prompts = (self.template.ids(messages, asked.tools),)
            elif asked.tools:
                raise BadRequest("The model has no chat template, so it reads no tools.", field="tools")
            else:
                prompts = ("\n".join(str(m["content"]) for m in messages),)
        limits, wishes = self.engine.limits(), []
        for prompt in prompts:
            ids = self.engine.tokenize(prompt) if isinstance(prompt, str) else prompt
            n = answer_tokens(asked, ids, limits, chat=chat)
            wishes.append(Generation(prompt=ids, max_tokens=n, ignore_eos=bool(asked.ignore_eos)))
        return wishes

    async def _whole(
        self, reply: Reply, first: tuple[int, TokenEvent], events: AsyncIterator[tuple[int, TokenEvent]], n: int
    ) -> web.Response:
        answers: list[list[TokenEvent]] = [[] for _ in range(n)]
        answers[first[0]].append(first[1])
        try:
            async for index, event in events:
                answers[index].append(event)
        except WorkbenchError as error:
            return error_reply(503 if isinstance(error, EngineStopped) else 500, str(error))
        return web.json_response(reply.whole(answers))

    async def _stream(
        self,
        request: web.Request,
        reply: Reply,
        first: tuple[int, TokenEvent],
        events: AsyncIterator[tuple[int, TokenEvent]],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        last = {first[0]: first[1]}
        try:
            await response.write(reply.chunk(*first))
            async for index, event in events:
                await response.write(reply.chunk(index, event))
                last[index] = event
            if reply.usage_at_end:
                await response.write(reply.usage_chunk(list(last.values())))
        except WorkbenchError as error:
            await response.write(error_event(503 if isinstance(error, EngineStopped) else 500, str(error)))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _events(
        self, wishes: Sequence[Generation], stops: Sequence[str], started_s: float
    ) -> AsyncGenerator[tuple[int, TokenEvent]]:
        """Yield the events of several answers as they come, each with its number.

        Threads fetch them; closing the iterator ends their work, and an answer that fails ends the others.
        """
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[tuple[int, TokenEvent | Exception | None]] = asyncio.Queue()
        stop = threading.Event()
        watches = [_Watch(self.metrics, started_s) for _ in wishes]

        def put(index: int, item: TokenEvent | Exception | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.put_nowait, (index, item))

        for index, wish in enumerate(wishes):
            loop.run_in_executor(self._threads, _fetch, self.engine, wish, stops, partial(put, index), stop)
        n_open = len(wishes)
        try:
            while n_open:
                index, item = await arrived.get()
                if item is None:
                    n_open -= 1
                    watches[index].succeeded()
                elif isinstance(item, Exception):
                    self.metrics.failed.inc()
                    raise item
                else:
                    watches[index].saw(item)
                    yield index, item
        finally:
            stop.set()
            for watch in watches:
                watch.ended()


class _Watch:
    """What the metrics count of one answer."""

    def __init__(self, metrics: ServerMetrics, started_s: float) -> None:
        self._metrics = metrics
        self._started_s = self._previous_s = self._first_s = started_s
        self._last: TokenEvent | None = None
        metrics.under_way.inc()

    def saw(self, event: TokenEvent) -> None:
        """Count one event of the answer in the metrics."""
        if self._last is None:
            self._first_s = event.at_s
            prefill_s = None if event.began_at_s is None else event.at_s - event.began_at_s
            self._metrics.began(event.at_s - self._started_s, queued_s=event.queued_s, prefill_s=prefill_s)
        else:
            self._metrics.gap.observe(event.at_s - self._previous_s)
        self._previous_s, self._last = event.at_s, event

    def succeeded(self) -> None:
        """Count the whole answer as one that was complete."""
        if self._last is not None:
            self._metrics.ended(
                e2e_s=self._previous_s - self._started_s,
                decode_s=self._previous_s - self._first_s,
                n_input=self._last.n_input_tokens or 0,
                n_output=self._last.n_output_tokens or 0,
            )

    def ended(self) -> None:
        """Count the tokens of an answer, whether it is complete or not."""
        self._metrics.under_way.dec()
        if self._last is not None:
            self._metrics.prompt.inc(self._last.n_input_tokens or 0)
            self._metrics.generated.inc(self._last.n_output_tokens or 0)


def _fetch(engine: Engine, wish: Generation, stops: Sequence[str], put: Put, stop: threading.Event) -> None:
    try:
        if stop.is_set():
            return
        events = until_stop(engine.generate(wish), stops)
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


def open_engine(
    kind: str, folder: Path, *, device: str, dtype: str | None, random_weights: bool, **limits: int | None
) -> LocalEngine:
    """Return a torch or ONNX engine on a model folder; ``limits`` are the torch engine's ``kv_tokens`` and ``max_num_seqs``."""
    if kind == "onnx":
        from workbench.engines.onnx_engine import OnnxEngine

        return OnnxEngine(folder)
    from workbench.engines.torch_engine import TorchEngine

    try:
        return TorchEngine(folder, device=device, dtype=dtype, random_weights=random_weights, **limits)
    except NotAvailable as error:
        reason = error.cause
    from workbench.engines.turns_engine import TurnsEngine

    engine = TurnsEngine(folder, device=device, dtype=dtype, random_weights=random_weights, reason=reason)
    sys.stderr.write(f"{reason} Requests take turns instead of sharing forward passes.\n")
    return engine


def main() -> None:
    """Serve until the process is asked to end."""
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
    a = vars(parser.parse_args())
    name, port = a.pop("name"), a.pop("port")
    folder = a.pop("model")
    try:
        template = ChatTemplate.of(folder)
        server = OpenAiServer(open_engine(a.pop("engine"), folder, **a), name=name, template=template)
    except WorkbenchError as error:
        sys.exit(str(error))
    web.run_app(
        server.app,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        shutdown_timeout=1.0,
        handler_cancellation=True,
    )


if __name__ == "__main__":
    main()
