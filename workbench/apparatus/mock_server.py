"""An OpenAI-compatible server with known timings that logs when it really wrote each token.

    python -m workbench.apparatus.mock_server --port 8001 --ttft 0.05 --itl 0.01

A stand-in for tests of clients: it holds no model. ``GET /truth`` gives the log, ``POST /reset`` empties it.
"""

import argparse
import asyncio
import math
import os
import random
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from urllib.parse import unquote

import msgspec
import orjson
import uvloop

from workbench.apparatus.mock_dialects import DIALECTS, WORDS, Asked, Truth, Writer
from workbench.apparatus.mock_room import Room


@dataclass(frozen=True, slots=True, kw_only=True)
class MockSettings:
    """What the server does. Times in seconds; ``every`` counts requests, 0 is never."""

    ttft_s: float = 0.05
    itl_s: float = 0.01
    ttft_sigma: float = 0.0
    """Spread of the logarithm of the time to the first token, drawn per request."""
    itl_sigma: float = 0.0
    tokens_per_chunk: int = 1
    role_chunk: bool = False
    """Send an empty role chunk at once, as proxies and some servers do."""
    usage: bool = True
    error_every: int = 0
    disconnect_every: int = 0
    """Close the connection in the middle of an answer."""
    silent_every: int = 0
    """Never answer."""
    stall_at_s: float = 0.0
    """After this time since the first request nothing is written for ``stall_s``."""
    stall_s: float = 0.0
    slots: int = 0
    """Requests served at once, others wait in order; 0: all."""
    other_port: int = 0
    """Of the server to which a dialect redirects."""
    model: str = "mock"
    api_key: str = ""
    seed: int = 0


class _Server:
    """State shared by the connections."""

    def __init__(self, settings: MockSettings) -> None:
        self.settings = settings
        self.log: list[Truth] = []
        self.rng = random.Random(settings.seed)
        self.first_s: float | None = None
        self.n_requests = 0
        self.n_connections = 0
        self.busy = 0
        self.queue: deque[_Stream] = deque()
        self.rooms: dict[str, Room] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def reset(self) -> None:
        self.rooms = {}
        self.log, self.first_s, self.n_requests, self.n_connections = [], None, 0, 0

    def drawn(self, mean: float, sigma: float) -> float:
        return mean if sigma <= 0 else mean * math.exp(self.rng.gauss(-sigma * sigma / 2, sigma))

    def not_before(self, when: float) -> float:
        """Return the time at which something due at ``when`` is written, after a stall if it falls into one."""
        s = self.settings
        if not s.stall_s or self.first_s is None:
            return when
        begin = self.first_s + s.stall_at_s
        return begin + s.stall_s if begin <= when < begin + s.stall_s else when

    def admit(self, stream: "_Stream") -> None:
        if self.settings.slots and self.busy >= self.settings.slots:
            self.queue.append(stream)
        else:
            self.busy += 1
            stream.begin()

    def leave(self) -> None:
        self.busy -= 1
        if self.queue:
            self.busy += 1
            self.queue.popleft().begin()


class _Stream:
    """An answer that the server is writing."""

    def __init__(
        self, connection: "_Connection", truth: Truth, *, chat: bool, n_tokens: int, usage: bool, each: bool
    ) -> None:
        self.connection, self.truth, self.chat = connection, truth, chat
        self.n_tokens, self.usage, self.each = n_tokens, usage, each
        self.written = 0
        self.due = 0.0
        self.server = connection.server
        self.cut = False

    def begin(self) -> None:
        s = self.server.settings
        self.connection.head()
        if s.role_chunk:
            empty = {"delta": {"role": "assistant", "content": ""}} if self.chat else {"text": ""}
            self._event({"choices": [{"index": 0, **empty}]})
        self.due = asyncio.get_running_loop().time() + self.server.drawn(s.ttft_s, s.ttft_sigma)
        self._sleep()

    def _event(self, message: dict[str, object]) -> None:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        self.connection.event({"object": kind, "model": self.server.settings.model, **message})

    def _sleep(self) -> None:
        asyncio.get_running_loop().call_at(self.server.not_before(self.due), self._wake)

    def _wake(self) -> None:
        if self.connection.closed:
            self.server.leave()
            return
        s = self.server.settings
        now = asyncio.get_running_loop().time()
        if self.server.not_before(now) > now:
            self.due = self.server.not_before(now)
            self._sleep()
            return
        n = min(s.tokens_per_chunk, self.n_tokens - self.written)
        text = "".join(WORDS[(self.written + i) % len(WORDS)] for i in range(n))
        self.written += n
        choice = {"index": 0, "delta": {"content": text}} if self.chat else {"index": 0, "text": text}
        self._event({"choices": [choice]} | ({"usage": self._usage()} if self.each and s.usage else {}))
        self.truth.writes_s.append(time.perf_counter())
        self.truth.chunk_tokens.append(n)
        self.truth.tokens = self.written
        if self.cut and self.written * 2 >= self.n_tokens:
            self.connection.drop()
            self.server.leave()
        elif self.written < self.n_tokens:
            self.due = max(self.due, now - 0.001) + self.server.drawn(s.itl_s, s.itl_sigma) * n
            self._sleep()
        else:
            if self.usage and s.usage:
                self._event({"choices": [], "usage": self._usage()})
            self.connection.finish()
            self.server.leave()

    def _usage(self) -> dict[str, int]:
        return {"prompt_tokens": 1, "completion_tokens": self.written, "total_tokens": 1 + self.written}


class _Connection(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self.server = server
        self.buffer = bytearray()
        self.closed = False
        self.transport: asyncio.Transport | None = None
        self.n_requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.server.n_connections += 1

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(self.buffer) < end + 4 + length:
            return
        body = bytes(self.buffer[end + 4 : end + 4 + length])
        del self.buffer[: end + 4 + length]
        method, path, _ = first.split(" ", 2)
        self.n_requests += 1
        if path.startswith("/as/"):
            self._answer_otherwise(method, path, headers, body)
        else:
            self._answer(method, path, headers, body)

    def _answer_otherwise(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """Answer in the dialect that the path names."""
        name, _, rest = path.removeprefix("/as/").partition("/")
        route, _, _ = rest.partition("?")
        room = self.server.rooms.setdefault(name, Room(DIALECTS[unquote(name)]))
        d = room.dialect
        if route == "metrics" and d.caches:
            page = room.metrics()
            self.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page))
        elif route == "v1/models":
            self._json(200, {"object": "list", "data": [{"id": m} for m in d.models]})
        elif method != "POST":
            self._error(404, f"no route {path}")
        elif d.redirect and not route.startswith("v2/"):
            where = f"/as/{name}/v2/{rest}" if d.redirect == "same" else f"http://localhost:{self._port}{path}"
            head = f"HTTP/1.1 307 Temporary Redirect\r\nlocation: {where}\r\ncontent-length: 0\r\n\r\n"
            self.write(head.encode())
        else:
            self._write_otherwise(room, route.rpartition("v1/")[2], path, headers, body)

    @property
    def _port(self) -> int:
        return self.server.settings.other_port

    def _write_otherwise(self, room: Room, endpoint: str, path: str, headers: dict[str, str], body: bytes) -> None:
        server, d = self.server, room.dialect
        truth = Truth(headers.get("x-request-id", str(server.n_requests)), time.perf_counter())
        is_cut = room.n_requests < d.cut_first
        found = None if is_cut else room.refusal(headers, path, body)
        if is_cut or (d.kept_close and self.n_requests > 1 and self.n_requests % 2 == 0):
            room.n_requests += is_cut
            delay = 0.3 if d.kept_close == "late" else 0.0
            asyncio.get_running_loop().call_later(delay, self.drop)
            if delay:
                truth.is_whole = False
                server.log.append(truth)
            return
        server.log.append(truth)
        if found is not None:
            truth.status = found[0]
            extra = b"retry-after: 0.05\r\n" if found[0] == 429 else b""
            self._error(*found, extra=extra)
            return
        asked = msgspec.json.decode(body, type=Asked)
        writer = Writer(self, d, truth, endpoint=endpoint, asked=asked, prompt_tokens=room.prompt_tokens(body))
        task = asyncio.get_running_loop().create_task(
            writer.write(ttft_s=server.settings.ttft_s, itl_s=server.settings.itl_s)
        )
        server.tasks.add(task)
        task.add_done_callback(server.tasks.discard)

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        s = self.server.settings
        if path == "/truth":
            requests = [asdict(t) for t in self.server.log]
            self._json(200, {"requests": requests, "connections": self.server.n_connections})
        elif path == "/reset":
            self.server.reset()
            self._json(200, {})
        elif path in {"/health", "/ping"}:
            self._json(200, {"status": "ok"})
        elif s.api_key and headers.get("authorization") != f"Bearer {s.api_key}":
            self._error(401, "Unauthorized")
        elif path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": s.model, "object": "model"}]})
        elif method == "POST" and path in {"/v1/completions", "/v1/chat/completions"}:
            self._generate(path, headers, msgspec.json.decode(body, type=Asked))
        else:
            self._error(404, f"no route {path}")

    def _generate(self, path: str, headers: dict[str, str], asked: Asked) -> None:
        server, s = self.server, self.server.settings
        if asked.model != s.model:
            self._error(404, f"The model `{asked.model}` does not exist.")
            return
        now = time.perf_counter()
        if server.first_s is None:
            server.first_s = asyncio.get_running_loop().time()
        server.n_requests += 1
        number = server.n_requests
        truth = Truth(headers.get("x-request-id", str(number)), now)
        server.log.append(truth)
        if s.error_every and number % s.error_every == 0:
            truth.status = 500
            self._error(500, "made to fail")
            return
        if s.silent_every and number % s.silent_every == 0:
            return
        options = asked.stream_options
        stream = _Stream(
            self,
            truth,
            chat=path.endswith("chat/completions"),
            n_tokens=asked.n_tokens,
            usage=bool(options and options.include_usage),
            each=bool(options and options.continuous_usage_stats) and s.tokens_per_chunk == 1,
        )
        stream.cut = bool(s.disconnect_every) and number % s.disconnect_every == 0
        server.admit(stream)

    def head(self) -> None:
        self.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    def event(self, message: dict[str, object]) -> None:
        data = b"data: " + orjson.dumps(message) + b"\n\n"
        self.write(b"%x\r\n%s\r\n" % (len(data), data))

    def finish(self) -> None:
        self.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    def drop(self) -> None:
        """Close the connection to the client."""
        if self.transport is not None:
            self.transport.close()

    def _json(self, status: int, value: dict[str, object], *, extra: bytes = b"") -> None:
        body = orjson.dumps(value)
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
        self.write(head % (status, extra, len(body)) + body)

    def _error(self, status: int, text: str, *, extra: bytes = b"") -> None:
        self._json(status, {"error": {"message": text, "code": status}}, extra=extra)

    def write(self, data: bytes) -> None:
        """Write bytes to the client as they are."""
        if self.transport is not None and not self.closed:
            self.transport.write(data)


async def _serve(settings: MockSettings, port: int) -> None:
    server = _Server(settings)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: _Connection(server), "127.0.0.1", port, backlog=4096)
    print(listening.sockets[0].getsockname()[1], flush=True)  # tells its caller where it listens
    loop.add_reader(sys.stdin.fileno(), lambda: os.read(sys.stdin.fileno(), 64) or loop.stop())
    await loop.create_future()


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--settings", default="{}", help="MockSettings as JSON")
    parser.add_argument("--ttft", type=float)
    parser.add_argument("--itl", type=float)
    arguments = parser.parse_args()
    values = orjson.loads(arguments.settings)
    values |= {f"{k}_s": v for k, v in (("ttft", arguments.ttft), ("itl", arguments.itl)) if v is not None}
    try:
        uvloop.run(_serve(MockSettings(**values), arguments.port))
    except (RuntimeError, KeyboardInterrupt):
        return


if __name__ == "__main__":
    main()
