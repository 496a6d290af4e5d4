"""A server on raw sockets that writes one answer as it is told, byte by byte, and notes when it wrote text."""

import asyncio
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Awaitable, Callable

HEAD = "HTTP/1.1 200 OK\r\n"
SSE = "Content-Type: text/event-stream\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


class Wire:
    """One answer of the raw server, and what it wrote as text."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.writes_s: list[float] = []
        self.tokens = 0
        self.is_chunked = True

    def raw(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)

    def head(self, fields: str = SSE + CHUNKED) -> None:
        self.is_chunked = "chunked" in fields
        self.raw(HEAD + fields + "\r\n")

    def body(self, data: bytes | str) -> None:
        data = data.encode() if isinstance(data, str) else data
        self.raw(b"%X\r\n%s\r\n" % (len(data), data) if self.is_chunked else data)

    def event(self, value: object, *, name: str = "") -> None:
        self.body((f"event: {name}\n" if name else "") + f"data: {json.dumps(value)}\n\n")

    def put(self, part: object, *, name: str = "") -> None:
        if isinstance(part, str | bytes):
            self.body(part)
        elif part is not None:
            self.event(part, name=name)

    def note(self, n_tokens: int = 1) -> None:
        self.tokens += n_tokens
        self.writes_s.append(time.perf_counter())

    async def pause(self) -> None:
        await self.writer.drain()
        await asyncio.sleep(0.002)

    def end(self) -> None:
        self.raw("0\r\n\r\n")

    def close(self) -> None:
        self.writer.close()


def choice(text: str | None, **more: object) -> dict[str, object]:
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}} | more]}


STOP = choice("", finish_reason="stop")
DONE = "data: [DONE]\n\n"


def usage(n: int, **more: object) -> dict[str, object]:
    return {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": n, "total_tokens": n + 5}} | more


Write = Callable[[Wire], Awaitable[None]]


async def words(w: Wire, *, n: int = 3) -> None:
    """Write a few words, one token each."""
    for i in range(n):
        w.note()
        w.event(choice(f" w{i}"))
        await w.pause()


async def ending(w: Wire) -> None:
    w.event(STOP)
    w.event(usage(w.tokens))
    w.body(DONE)
    w.end()


def framed(fields: str, *, closes: bool = False, encode: Callable[[bytes], bytes] = bytes) -> Write:
    """Write a plain answer under other header fields."""

    async def write(w: Wire) -> None:
        w.note(2)
        body = b"".join(f"data: {json.dumps(e)}\n\n".encode() for e in (choice(" a b"), STOP, usage(2))) + DONE.encode()
        body = encode(body)
        w.head(fields.replace("LENGTH", str(len(body))))
        w.body(body)
        if w.is_chunked and not closes:
            w.end()
        if closes:
            w.close()

    return write


def streamed(*parts: object) -> Write:
    """Write words, then parts, then nothing."""

    async def write(w: Wire) -> None:
        w.head()
        await words(w)
        for part in parts:
            w.put(part)
        w.end()

    return write


def wrapped(before: object = None, between: object = None, after: object = None, *, name: str = "") -> Write:
    """Write a whole answer with something before, within and after it."""

    async def write(w: Wire) -> None:
        w.head()
        w.put(before, name=name)
        await words(w, n=2)
        w.put(between)
        await words(w, n=2)
        w.event(STOP)
        w.event(usage(w.tokens))
        w.body(DONE)
        w.put(after)
        w.end()

    return write


def each(*deltas: object, finish: object = "stop", last: object = None) -> Write:
    """Write one event of text for each delta."""

    async def write(w: Wire) -> None:
        w.head()
        for delta in deltas:
            w.note()
            w.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            await w.pause()
        w.event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        w.event(last or usage(w.tokens))
        w.body(DONE)
        w.end()

    return write


def response_events(*events: tuple[str, dict[str, object], int]) -> Write:
    """Write the events of the responses interface, each with its tokens of text."""

    async def write(w: Wire) -> None:
        w.head()
        for number, (kind, fields, n) in enumerate(events):
            if n:
                w.note(n)
            w.event({"type": kind, "sequence_number": number} | fields, name=kind)
            await w.pause()
        w.end()

    return write


def whole_document(value: object, fields: str = "Content-Type: application/json\r\n", status: str = HEAD) -> Write:
    async def write(w: Wire) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value, indent=2).encode()
        w.note(2)
        w.raw(status + fields + f"Content-Length: {len(body)}\r\n\r\n")
        w.raw(body)

    return write


async def one_byte_at_a_time(w: Wire) -> None:
    w.head()
    w.note()
    for byte in f"data: {json.dumps(choice(' é'), ensure_ascii=False)}\r\n\r\n".encode():
        w.body(bytes([byte]))
    w.event(STOP)
    w.body(DONE)
    w.end()


async def several_in_one_write(w: Wire) -> None:
    w.head()
    for _ in range(3):
        w.note()
    w.body("".join(f"data: {json.dumps(choice(' w'))}\n\n" for _ in range(3)))
    await ending(w)


async def never_closes_the_last_chunk(w: Wire) -> None:
    w.head()
    await words(w)
    w.event(STOP)
    w.event(usage(w.tokens))
    w.body(DONE)
    w.close()


async def early_answer(w: Wire) -> None:
    w.raw("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    w.head()
    await words(w)
    await ending(w)


async def usage_of_zeros(w: Wire) -> None:
    w.head()
    for i in range(3):
        w.note()
        w.event(choice(f" w{i}") | {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}})
        await w.pause()
    await ending(w)


async def usage_of_one_each(w: Wire) -> None:
    w.head()
    for i in range(3):
        w.note()
        w.event(choice(f" w{i}") | {"usage": {"completion_tokens": 1}})
        await w.pause()
    await ending(w)


async def usage_without_numbers(w: Wire) -> None:
    w.head()
    await words(w)
    w.event(STOP)
    w.body('data: {"choices": [], "usage": {"prompt_tokens": Infinity, "completion_tokens": NaN}}\n\n' + DONE)
    w.end()


async def events_on_lines(w: Wire) -> None:
    w.head()
    for _ in range(2):
        w.note()
    w.body(
        f"data: {json.dumps(choice(' a'))}\ndata: {json.dumps(choice(' b'))}\ndata: {json.dumps(STOP)}\ndata: [DONE]\n"
    )
    w.end()


class RawServer:
    """Answers each request on its sockets with one behaviour, in a thread of its own."""

    def __init__(self) -> None:
        self.write: Write = ending
        self.truth: dict[int, Wire] = {}
        self.loop = asyncio.new_event_loop()
        self.port = 0
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        async def start() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        self.loop.run_until_complete(start())
        self.loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            fields = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in head.decode().split("\r\n"))}
            await reader.readexactly(int(fields["content-length"]))
            wire = Wire(writer)
            self.truth[int(fields["x-request-id"].rpartition("-")[2])] = wire
            await self.write(wire)
        writer.close()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


def verbatim(head: str, *pieces: bytes, n_tokens: int = 2, ends: bytes = b"0\r\n\r\n", extension: bytes = b"") -> Write:
    """Write a head as it is, and a plain answer, or other pieces, in chunks of it."""

    async def write(w: Wire) -> None:
        w.note(n_tokens)
        w.raw(head)
        for piece in pieces or (PLAIN,):
            w.raw(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
        w.raw(ends)

    return write


def sse(*events: object) -> bytes:
    """Return events as bytes."""
    return b"".join(f"data: {json.dumps(e)}\n\n".encode() for e in events)


PLAIN = sse(choice(" a b"), STOP, usage(2)) + DONE.encode()


def of_length(fields: str) -> Write:
    """Write a plain answer whose length the fields say."""

    async def write(w: Wire) -> None:
        w.note(2)
        w.raw(HEAD + SSE + fields.replace("LENGTH", str(len(PLAIN))) + "\r\n")
        w.raw(PLAIN)

    return write


async def json_lines(w: Wire) -> None:
    w.head("Content-Type: application/x-ndjson\r\n" + CHUNKED)
    for i in range(3):
        w.note()
        line = json.dumps(choice(f" w{i}")) + "\n"
        w.body(line[:9])
        w.body(line[9:])
        await w.pause()
    w.body(json.dumps(STOP) + "\n")
    w.body(json.dumps(usage(3)))
    w.end()


async def parts_as_messages(w: Wire) -> None:
    w.head()
    for i in range(4):
        w.note()
        part = {"index": 0, "message": {"content": f" w{i}"}, "finish_reason": "stop" if i == 3 else None}
        w.event({"choices": [part]})
        await w.pause()
    w.event(usage(4))
    w.body(DONE)
    w.end()


def two_choices(*, ended: int) -> Write:
    """Write two answers by turns, of which so many end."""

    async def write(w: Wire) -> None:
        w.head()
        for i in range(6):
            w.note()
            w.event({"choices": [{"index": i % 2, "delta": {"content": " a"}, "finish_reason": None}]})
            await w.pause()
        for i in range(ended):
            w.event({"choices": [{"index": i, "delta": {}, "finish_reason": "stop"}]})
        w.event(usage(6))
        w.end()

    return write


def response_at_once(kind: str, fields: dict[str, object]) -> Write:
    """Write a response without deltas, whose text comes with its end."""

    async def write(w: Wire) -> None:
        w.head()
        w.event({"type": "response.created", "response": {"status": "in_progress"}}, name="response.created")
        w.note(2)
        w.event({"type": kind} | fields, name=kind)
        ended = {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2}}
        if kind != "response.completed":
            w.event({"type": "response.completed", "response": ended}, name="response.completed")
        w.end()

    return write


def compressed(*, ends: bool) -> Write:
    """Write an answer in gzip that lacks its trailer, and, if it does not end, its last events."""

    async def write(w: Wire) -> None:
        coder = zlib.compressobj(wbits=31)
        w.head(SSE + "Content-Encoding: gzip\r\n" + CHUNKED)
        for i in range(3):
            w.note()
            w.body(coder.compress(sse(choice(f" w{i}"))) + coder.flush(zlib.Z_SYNC_FLUSH))
            await w.pause()
        if ends:
            w.body(coder.compress(sse(STOP, usage(3)) + DONE.encode()) + coder.flush(zlib.Z_SYNC_FLUSH))
        w.end()

    return write


def reset(*parts: object) -> Write:
    """Write words and parts, then reset the connection."""

    async def write(w: Wire) -> None:
        w.head()
        await words(w)
        for part in parts:
            w.put(part)
        await w.writer.drain()
        await asyncio.sleep(0.02)
        w.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        w.writer.transport.abort()

    return write


async def line_ends_of_all_kinds(w: Wire) -> None:
    w.head()
    for i, end in enumerate(("\n\r\n", "\r\n\n", "\r\r", "\n\r")):
        w.note()
        w.body(f"data: {json.dumps(choice(f' w{i}'))}{end[0]}")
        w.body(end[1:])
        await w.pause()
    await ending(w)
