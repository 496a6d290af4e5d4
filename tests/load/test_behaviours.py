"""Servers that write bytes by the rules of HTTP, event streams and OpenAI's interface, or break them as reports say; raw sockets, one load each.

The server notes when it wrote text and how many tokens that was; each behaviour states what a client may make of it, and whose rule that is.
"""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from workbench.load.flight import AT_ONCE_NS, Flight
from workbench.load.messages import SentLoad
from workbench.load.process import LoadProcess
from workbench.load.records import records
from workbench.load.rows import PrefixHits
from workbench.load.spec import LoadSpec
from workbench.load.summary import summary

N_REQUESTS = 3
NO_HITS = PrefixHits(hit_fraction=None, warning=None, counters_found=False)
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


@dataclass(frozen=True)
class Behaviour:
    """How a server answers, and what is right to make of it."""

    rule: str
    write: Write
    cause: str = ""
    """Part of the error; "" for an answer that counts."""
    tokens: int | None = None
    """Counted by the client, where that is not what the server wrote."""
    endpoint: str = "chat"


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


FINISH_STOP = {"choices": [{"index": 0, "delta": {}, "message": {"content": " w0 w1 w2"}, "finish_reason": "stop"}]}
LONG = ": " + "x" * 300_000 + "\n\n"
DELTA = "response.output_text.delta"
DONE_EVENT = (
    "response.completed",
    {"response": {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2}}},
    0,
)
TOOL = {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]}

BEHAVIOURS = {
    # RFC 9112: framing
    "chunk sizes in upper case with extensions": Behaviour("RFC 9112, 7.1", framed(SSE + CHUNKED)),
    "content length": Behaviour("RFC 9112, 6.3", framed(SSE + "Content-Length: LENGTH\r\n")),
    "no length, ends with the connection": Behaviour(
        "RFC 9112, 6.3", framed(SSE + "Connection: close\r\n", closes=True)
    ),
    "names of fields in other cases": Behaviour(
        "RFC 9110, 5.1", framed("content-TYPE: TEXT/event-stream\r\nCONTENT-length:LENGTH\r\n")
    ),
    "a field on two lines": Behaviour("RFC 9112, 5.2", framed(SSE + "X-A: one\r\n two\r\n" + CHUNKED)),
    "compressed by the transfer": Behaviour(
        "RFC 9112, 7.2", framed(SSE + "Transfer-Encoding: gzip, chunked\r\n", encode=gzip.compress)
    ),
    "compressed twice": Behaviour(
        "RFC 9110, 8.4",
        framed(SSE + "Content-Encoding: gzip, gzip\r\n" + CHUNKED, encode=lambda b: gzip.compress(gzip.compress(b))),
    ),
    "an unknown coding": Behaviour("RFC 9110, 8.4.1", framed(SSE + "Content-Encoding: exotic\r\n" + CHUNKED), "exotic"),
    "the length says less": Behaviour(
        "RFC 9112, 6.3", framed(SSE + "Content-Length: 150\r\n"), "without finish_reason"
    ),
    "the length says more": Behaviour(
        "RFC 9112, 8: the answer itself is whole", framed(SSE + "Content-Length: 9999\r\n", closes=True)
    ),
    "no last chunk after DONE": Behaviour("RFC 9112, 8: the answer itself is whole", never_closes_the_last_chunk),
    "interim responses": Behaviour("RFC 9110, 15.2", early_answer),
    "not HTTP": Behaviour("RFC 9112, 2.1", whole_document(b"", status="SSH-2.0-OpenSSH_9\r\n\r\n"), "not HTTP"),
    # WHATWG: event streams
    "one byte at a time, CRLF": Behaviour("WHATWG 9.2.5", one_byte_at_a_time),
    "several events in one write": Behaviour("WHATWG 9.2.5", several_in_one_write),
    "comments, ids, retry": Behaviour("WHATWG 9.2.6", wrapped(": hi\nid: 1\nretry: 10\n\n", ":\n\n", "id: 9\n\n: bye")),
    "a long comment": Behaviour("WHATWG 9.2.6", wrapped(LONG, LONG)),
    "an event without data": Behaviour("WHATWG 9.2.6", wrapped("event: ping\n\n", "data\n\n")),
    "an unknown field": Behaviour("WHATWG 9.2.6", wrapped("queue: 3\n\n", "x-progress: 50\n\n")),
    "heartbeats that are no JSON": Behaviour(
        "anthropics/pings, sse-starlette",
        wrapped("event: ping\ndata: 2026-11-30 10:00\n\n", "event: heartbeat\ndata:\n\n"),
    ),
    "a status event": Behaviour(
        "OpenAI's client reads events without choices", wrapped({"message": "queued", "position": 3}, name="status")
    ),
    "JSON that is no object": Behaviour("WHATWG 9.2.6", wrapped("data: null\n\n", "data: 17\n\n")),
    "one line feed between events": Behaviour("vllm bench reads lines", events_on_lines),
    "text after DONE": Behaviour("OpenAI: DONE ends the stream", wrapped(after=choice(" more"))),
    "an error after DONE": Behaviour("OpenAI: DONE ends the stream", wrapped(after="data: oops\n\n")),
    # JSON as servers write it
    "NaN in logprobs": Behaviour(
        "Python's json",
        wrapped(between='data: {"choices": [{"index": 0, "delta": {}, "logprobs": [NaN, -Infinity]}]}\n\n'),
    ),
    "half a surrogate pair": Behaviour("an emoji over two tokens", each({"content": "\ud83d"}, {"content": "\ude00"})),
    "bytes that are not UTF-8": Behaviour(
        "llama.cpp 5715", wrapped(between=b'data: {"choices": [{"index": 0, "delta": {}, "note": "\xf0\x9f"}]}\n\n')
    ),
    # OpenAI's interface: chat
    "a role, then null": Behaviour("OpenAI: chat", wrapped(choice("", role="assistant"), choice(None))),
    "filter results before and after": Behaviour(
        "Azure", wrapped({"choices": [], "prompt_filter_results": []}, {"choices": [{"content_filter_offsets": {}}]})
    ),
    "empty error fields": Behaviour(
        "OpenRouter", wrapped({"choices": [], "error": None}, {"choices": [], "error": {"message": "", "code": 0}})
    ),
    "reasoning under two names": Behaviour(
        "OpenRouter sends both", each({"reasoning": "a", "reasoning_content": "a"}, {"content": "b"})
    ),
    "tool call piece by piece": Behaviour(
        "OpenAI: chat", each(TOOL, {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, finish="tool_calls")
    ),
    "the answer once more at the end": Behaviour("MiniMax", streamed(FINISH_STOP, usage(3), DONE)),
    "finish_reason as an object": Behaviour("SGLang", each({"content": "a"}, finish={"type": "length", "length": 1})),
    "usage of zeros until the end": Behaviour("LocalAI 1194", usage_of_zeros),
    "usage of one in each chunk": Behaviour("token counts of each chunk", usage_of_one_each),
    "usage in the choice": Behaviour(
        "Moonshot",
        each(
            {"content": "ab"},
            {"content": "cd"},
            last={"choices": [{"index": 0, "delta": {}, "usage": {"completion_tokens": 4}}]},
        ),
        tokens=4,
    ),
    "usage in an extension": Behaviour(
        "Groq", each({"content": "ab"}, last={"choices": [], "x_groq": {"usage": {"completion_tokens": 6}}}), tokens=6
    ),
    "usage without numbers": Behaviour("a count that is no number is not known", usage_without_numbers),
    "no usage": Behaviour("stream_options is optional", streamed(STOP, DONE)),
    "aborted in capitals": Behaviour("gateways", each({"content": "a"}, finish="ERROR"), "error"),
    "interrupted": Behaviour("DeepSeek", each({"content": "a"}, finish="insufficient_system_resource"), "insufficient"),
    "a network error": Behaviour("Zhipu", each({"content": "a"}, finish="network_error"), "network_error"),
    "an error with DONE": Behaviour(
        "SGLang, litellm 25492",
        streamed({"error": {"message": "too many tokens", "code": 400}}, DONE),
        "too many tokens",
    ),
    "an error as msg": Behaviour("gateways", streamed({"code": 50001, "msg": "quota"}, DONE), "quota"),
    "an error without data:": Behaviour(
        "an exception in the middle of a stream",
        streamed('{"error": "runner terminated"}\n', DONE),
        "runner terminated",
    ),
    "an error of the event name": Behaviour("vLLM", streamed("event: error\ndata: engine died\n\n"), "engine died"),
    "broken off, no end": Behaviour("pi 7441", streamed(), "without finish_reason"),
    "a page": Behaviour(
        "a login page", whole_document(b"<html>Please log in</html>", "Content-Type: text/html\r\n"), "no token"
    ),
    "429 as text": Behaviour(
        "nginx",
        whole_document(b"slow down", "Retry-After: 1\r\n", "HTTP/1.1 429 Too Many Requests\r\n"),
        "429: slow down",
    ),
    "503 as a page": Behaviour(
        "HAProxy", whole_document(b"<h1>No server</h1>", "", "HTTP/1.1 503 Service Unavailable\r\n"), "No server"
    ),
    "500 as a problem": Behaviour(
        "RFC 9457", whole_document({"title": "Bad", "detail": "queue full"}, "", "HTTP/1.1 500 X\r\n"), "queue full"
    ),
    "one document": Behaviour(
        "stream ignored",
        whole_document(
            {"choices": [{"message": {"content": "a b"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}
        ),
    ),
    # Completions and responses
    "completions with tokens of no text": Behaviour(
        "vLLM: text may lag behind tokens",
        streamed({"choices": [{"index": 0, "text": "", "finish_reason": None}]}, STOP, usage(3), DONE),
        endpoint="completions",
    ),
    "responses": Behaviour(
        "OpenAI: responses",
        response_events(
            ("response.created", {"response": {"status": "in_progress", "error": None, "output": []}}, 0),
            ("response.output_item.added", {"item": {"type": "message", "content": []}}, 0),
            (DELTA, {"delta": "a"}, 1),
            (DELTA, {"delta": "b"}, 1),
            ("response.output_text.done", {"text": "ab"}, 0),
            ("response.output_item.done", {"item": {"type": "message", "content": [{"text": "ab"}]}}, 0),
            DONE_EVENT,
        ),
        endpoint="responses",
    ),
    "responses that think first": Behaviour(
        "OpenAI: responses",
        response_events(
            ("response.reasoning_summary_text.delta", {"delta": "h"}, 1), (DELTA, {"delta": "a"}, 1), DONE_EVENT
        ),
        endpoint="responses",
    ),
    "responses cut at their limit": Behaviour(
        "OpenAI: response.incomplete",
        response_events(
            (DELTA, {"delta": "a"}, 1),
            ("response.incomplete", {"response": {"status": "incomplete", "usage": {"output_tokens": 1}}}, 0),
        ),
        endpoint="responses",
    ),
    "responses that fail": Behaviour(
        "OpenAI: response.failed",
        response_events(
            (DELTA, {"delta": "a"}, 1),
            (
                "response.failed",
                {"response": {"status": "failed", "error": {"code": "server_error", "message": "sorry"}}},
                0,
            ),
        ),
        cause="sorry",
        endpoint="responses",
    ),
    "responses with an error event": Behaviour(
        "OpenAI: error",
        response_events((DELTA, {"delta": "a"}, 1), ("error", {"code": "ERR", "message": "boom", "param": None}, 0)),
        cause="boom",
        endpoint="responses",
    ),
    "responses without an end": Behaviour(
        "OpenAI: responses",
        response_events((DELTA, {"delta": "a"}, 1)),
        cause="without finish_reason",
        endpoint="responses",
    ),
}


class RawServer:
    """Answers each request on its sockets with one behaviour, in a thread of its own."""

    def __init__(self) -> None:
        self.write: Write = BEHAVIOURS["no usage"].write
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


@pytest.fixture(scope="module")
def server():
    made = RawServer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def process():
    with LoadProcess() as child:
        yield child


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_server_is_read_by_the_rules(server, process, name):
    b = BEHAVIOURS[name]
    server.write, server.truth = b.write, {}
    spec = LoadSpec(
        url=f"http://127.0.0.1:{server.port}", model="m", arrivals="constant", rate_per_s=50.0, duration_s=N_REQUESTS / 50,
        output_tokens=4, endpoint=b.endpoint, calibrate=False, timeout_s=10.0, ignore_eos=False,
    )  # fmt: skip
    *_, last = process.messages(spec)
    assert isinstance(last, SentLoad)
    rows = records(last.requests, None)
    assert len(rows) == N_REQUESTS
    for row in rows:
        true = server.truth[row.index]
        if b.cause:
            assert b.cause in (row.error or ""), row
            assert not row.ok
            continue
        assert row.error is None
        assert row.output_tokens == (b.tokens or true.tokens)
        assert len(row.chunk_s) == len(true.writes_s)
        written = [t - last.started_monotonic_s for t in true.writes_s]
        assert all(c >= w for c, w in zip(row.chunk_s, written, strict=True))
    found = summary(spec, rows, None, NO_HITS)
    assert found.counts.failed == (N_REQUESTS if b.cause else 0)
    assert not {w.kind for w in found.warnings} & {"token-count-mismatch"}


@pytest.mark.parametrize(
    ("after_ns", "on_kept", "is_resent"), [(1, True, True), (1, False, False), (2 * AT_ONCE_NS, True, False)]
)
def test_a_proxy_that_had_given_up_a_kept_connection_is_asked_again(after_ns, on_kept, is_resent):
    """A 408 that comes at once on a kept connection belongs to no request (RFC 9110, section 15.5.9)."""
    resent, finished = [], []
    driver = SimpleNamespace(send_anew=resent.append, finished=finished.append, redacted=str)
    flight = Flight(index=0, due_ns=0, driver=driver, input_tokens=1, output_tokens=1, conversation=0)
    flight.on_kept, flight.connection, flight.written_ns = on_kept, SimpleNamespace(opening_ns=0), 10
    flight.ended(10 + after_ns, SimpleNamespace(status=408, headers={}), None)
    assert (resent, finished) == (([flight], []) if is_resent else ([], [flight]))
