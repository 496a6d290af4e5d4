"""How servers and what stands before them write answers otherwise than the plain mock: each way has a name, as a part of the URL.

``http://127.0.0.1:PORT/as/gzip`` is the base URL of a server that compresses its answers unasked.
"""

import asyncio
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec
import orjson

WORDS = (" time", " name", " list", " file", " value", " string", " object", " class")
"""Words that are one token each in the tokenizer of the shipped reference model."""


@dataclass(slots=True)
class Truth:
    """What really happened to one request, on the machine's monotonic clock."""

    request_id: str
    arrived_s: float
    tokens: int = 0
    status: int = 200
    writes_s: list[float] = field(default_factory=list)
    """Time of each write that held tokens."""
    chunk_tokens: list[int] = field(default_factory=list)
    is_whole: bool = True
    """Whether the answer was one that a client may count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way in which a server answers."""

    form: Literal["stream", "json", "buffered"] = "stream"
    content_type: str = "text/event-stream"
    framing: Literal["chunked", "close", "length"] = "chunked"
    newline: bytes = b"\n"
    coding: Literal["", "gzip", "deflate", "raw deflate"] = ""
    informational: bytes = b""
    before: bytes = b""
    """Written before the first event."""
    done: bytes = b"data: [DONE]\n\n"
    """Written after the last event."""
    finish_reason: str | None = "length"
    error: bytes = b""
    """Written in the middle of the answer, which then ends."""
    parts: tuple[int, ...] = (1,)
    """Tokens of the first chunks; the last number goes on."""
    part: str = "content"
    """Field of the message that holds the text."""
    answered_fraction: float = 1.0
    """Share of the tokens asked for that are answered."""
    usage_fraction: float = 1.0
    """Share of the tokens that the usage counts."""
    cut_fraction: float = 1.0
    """Share of the answer after which it breaks off, in order as far as HTTP can tell."""
    pieces: int = 1
    """Writes of each event."""
    splits_data: bool = False
    """Whether the JSON of an event is spread over two lines."""
    trailer: bytes = b""
    tail_s: float = 0.0
    """From the last token to the end of the response."""
    kept_close: Literal["", "at once", "late"] = ""
    """Whether every second request on a kept connection is answered by its close."""
    redirect: Literal["", "same", "other"] = ""
    refuses: tuple[str, ...] = ()
    """Fields that are answered with an error."""
    refusal_status: int = 400
    names_refused: bool = True
    needs_field: str = ""
    needs_header: tuple[str, str] | None = None
    needs_query: str = ""
    busy_first: int = 0
    """First requests that are answered by 429 with ``Retry-After``."""
    cut_first: int = 0
    """First requests whose connection is closed."""
    caches: bool = False
    """Whether a prompt that begins as an earlier one did is answered at once, as with vLLM's prefix cache."""
    models: tuple[str, ...] = ("mock",)
    echoes_after: int | None = None
    """Number of requests after which each is refused, with its own headers, address and body in the message."""

    @property
    def is_whole(self) -> bool:
        """Whether a client may count its answers."""
        ends = self.finish_reason not in {None, "abort", "error"} or b"[DONE]" in self.done
        return ends and not self.error and self.cut_fraction == 1 and self.finish_reason not in {"abort", "error"}


DIALECTS: Mapping[str, Dialect] = {
    "plain": Dialect(),
    "no blank line at the end": Dialect(done=b"data: [DONE]"),
    "one line feed at the end": Dialect(done=b"data: [DONE]\n"),
    "blanks around DONE": Dialect(done=b"data:   [DONE]  \n\n"),
    "DONE without a blank": Dialect(done=b"data:[DONE]\n\n"),
    "a last comment": Dialect(done=b"data: [DONE]\n\n: bye"),
    "half an event at the end": Dialect(done=b"data: [DONE]\n\ndata"),
    "no DONE": Dialect(done=b""),
    "no finish_reason": Dialect(finish_reason=None),
    "neither finish_reason nor DONE": Dialect(finish_reason=None, done=b""),
    "breaks off in order": Dialect(cut_fraction=0.5),
    "closed by the connection": Dialect(framing="close"),
    "closed by the connection in the middle": Dialect(framing="close", cut_fraction=0.5),
    "an error event": Dialect(error=b'event: error\ndata: {"message": "out of memory"}\n\n'),
    "an error without data": Dialect(error=b"event: error\n\n"),
    "an error in an event": Dialect(error=b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'),
    "an error as text": Dialect(error=b'data: {"error": "STREAM_EXPLODED"}\n\n'),
    "an error field": Dialect(error=b'error: {"code": 500, "message": "slot unavailable"}\n\n'),
    "an error line": Dialect(error=b"data: error: CUDA out of memory\n\n"),
    "not JSON": Dialect(error=b'data: {"choices": [{"delta": {"con\ndata: {"type":"error"}\n\n'),
    "finish_reason abort": Dialect(finish_reason="abort"),
    "finish_reason error": Dialect(finish_reason="error"),
    "upper-case content type": Dialect(content_type="Text/Event-Stream; Charset=UTF-8"),
    "plain content type": Dialect(content_type="text/plain"),
    "no content type": Dialect(content_type=""),
    "gzip": Dialect(coding="gzip"),
    "deflate": Dialect(coding="deflate"),
    "raw deflate": Dialect(coding="raw deflate"),
    "CRLF": Dialect(newline=b"\r\n"),
    "CR": Dialect(newline=b"\r"),
    "byte order mark": Dialect(before=b"\xef\xbb\xbf"),
    "retry and id": Dialect(before=b"retry: 3000\n\nid: 7\n\n: hello\n\nevent: ping\n\n"),
    "data on two lines": Dialect(splits_data=True),
    "split writes": Dialect(pieces=3),
    "trailers": Dialect(trailer=b"Server-Timing: x\r\n"),
    "early hints": Dialect(informational=b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "continue": Dialect(informational=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
    "JSON": Dialect(form="json", content_type="application/json", framing="length"),
    "JSON as a stream": Dialect(form="json"),
    "buffered": Dialect(form="buffered"),
    "short answers": Dialect(answered_fraction=0.25, finish_reason="stop"),
    "one token, then four": Dialect(parts=(1, 4)),
    "four tokens": Dialect(parts=(4,)),
    "usage too small": Dialect(usage_fraction=0.5),
    "a late end": Dialect(tail_s=0.1),
    "kept connections closed": Dialect(kept_close="at once"),
    "kept connections closed late": Dialect(kept_close="late"),
    "redirects": Dialect(redirect="same"),
    "redirects elsewhere": Dialect(redirect="other"),
    "second choice": Dialect(part="second choice"),
    "reasoning": Dialect(part="reasoning"),
    "reasoning_content": Dialect(part="reasoning_content"),
    "reasoning_details": Dialect(part="reasoning_details"),
    "refusal": Dialect(part="refusal"),
    "function_call": Dialect(part="function_call"),
    "tool_calls": Dialect(part="tool_calls"),
    "hosted": Dialect(refuses=("ignore_eos", "temperature", "max_tokens"), needs_field="max_completion_tokens"),
    "unknown fields end in 500": Dialect(refuses=("ignore_eos",), refusal_status=500, names_refused=False),
    "unknown fields end in an event": Dialect(refuses=("ignore_eos",), refusal_status=200),
    "key in api-key": Dialect(needs_header=("api-key", "k-123456")),
    "basic": Dialect(needs_header=("authorization", "Basic dXNlcjpwYXNzLTEyMzQ1")),
    "needs a query": Dialect(needs_query="api-version=2024-10-21"),
    "busy first": Dialect(busy_first=2),
    "cut first": Dialect(cut_first=1),
    "prefix cache": Dialect(caches=True),
    "several models": Dialect(models=("embedder", "mock")),
    "echo": Dialect(echoes_after=0),
    "echo later": Dialect(echoes_after=2),
}


class Wire(Protocol):
    """A connection of the mock, as far as an answer needs it."""

    closed: bool

    def write(self, data: bytes) -> None:
        """Write bytes to the client as they are."""

    def drop(self) -> None:
        """Close the connection to the client."""


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Asked(msgspec.Struct):
    """The fields of a request that the mock reads."""

    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    stream_options: _StreamOptions | None = None

    @property
    def n_tokens(self) -> int:
        """Return the length of the answer that is asked for."""
        return self.max_tokens or self.max_completion_tokens or self.max_output_tokens or 16


class Writer:
    """Writes one answer in a dialect.

    Args:
        wire: The connection.
        dialect: How.
        truth: Where it is noted.
        endpoint: Last part of the route: completions, chat/completions, responses or embeddings.
        asked: The request.
        prompt_tokens: Of the prompt, and how many of them were found in the cache.
    """

    def __init__(
        self, wire: Wire, dialect: Dialect, truth: Truth, *, endpoint: str, asked: Asked, prompt_tokens: tuple[int, int]
    ) -> None:
        self.wire, self.d, self.truth, self.endpoint = wire, dialect, truth, endpoint
        self.n_tokens = max(1, round(asked.n_tokens * dialect.answered_fraction))
        self.prompt_tokens, self.cached_tokens = prompt_tokens
        self._held: list[bytes] | None = [] if dialect.form != "stream" or dialect.framing == "length" else None
        coder = {"gzip": 31, "deflate": 15, "raw deflate": -15}.get(dialect.coding)
        self._coder = None if coder is None else zlib.compressobj(wbits=coder)

    async def write(self, *, ttft_s: float, itl_s: float) -> None:
        """Write the answer, with these times before its first token and between tokens."""
        truth, d = self.truth, self.d
        truth.is_whole = d.is_whole
        if self.endpoint == "embeddings":
            await asyncio.sleep(ttft_s)
            self._json({"object": "list", "data": [{"embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 3}})
            return
        if d.form != "json":
            self._head()
            self._send(d.before)
        await asyncio.sleep(ttft_s / 10 if self.cached_tokens else ttft_s)
        for n in self._parts():
            if self.wire.closed:
                return
            if truth.tokens:
                await asyncio.sleep(itl_s * n)
            text = "".join(WORDS[(truth.tokens + i) % len(WORDS)] for i in range(n))
            truth.tokens += n
            truth.writes_s.append(time.perf_counter())
            truth.chunk_tokens.append(n)
            if d.form != "json":
                self._event(self._message(text))
            if d.error and truth.tokens * 2 >= self.n_tokens:
                self._send(d.error)
                self._finish()
                return
            if truth.tokens >= d.cut_fraction * self.n_tokens and d.cut_fraction < 1:
                self._finish()
                return
        if d.form == "json":
            text = "".join(WORDS[i % len(WORDS)] for i in range(truth.tokens))
            self._json(self._message(text, is_last=True) | {"usage": self._usage()})
            return
        await self._end()

    async def _end(self) -> None:
        if self.endpoint == "responses":
            response = {"status": "incomplete", "usage": self._usage()}
            self._event({"type": "response.incomplete", "response": response})
        else:
            if self.d.finish_reason:
                self._event({"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": self.d.finish_reason}]})
            self._event({"choices": [], "usage": self._usage()})
        if self.d.tail_s:
            await asyncio.sleep(self.d.tail_s)
        if self.endpoint != "responses":
            self._send(self.d.done)
        self._finish()

    def _parts(self) -> Iterator[int]:
        left, parts = self.n_tokens, list(self.d.parts)
        while left > 0:
            n = min(left, parts[0])
            parts = parts[1:] or parts
            left -= n
            yield n

    def _message(self, text: str, *, is_last: bool = False) -> dict[str, object]:
        if self.endpoint == "responses":
            return {"type": "response.output_text.delta", "delta": text}
        ended = {"finish_reason": self.d.finish_reason} if is_last and self.d.finish_reason else {}
        if self.endpoint == "completions" and self.d.part == "content":
            return {"choices": [{"index": 0, "text": text, **ended}]}
        shaped: Mapping[str, Mapping[str, object]] = {
            "reasoning_details": {"reasoning_details": [{"type": "reasoning.text", "text": text}]},
            "function_call": {"function_call": {"arguments": text}},
            "tool_calls": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": text}}]},
        }
        held = shaped.get(self.d.part, {"content" if self.d.part == "second choice" else self.d.part: text})
        choice: dict[str, object] = {"index": 0, ("message" if is_last else "delta"): held, **ended}
        if self.d.part == "second choice":
            return {"choices": [{"index": 0, "delta": {}}, choice | {"index": 1}]}
        return {"choices": [choice]}

    def _usage(self) -> dict[str, object]:
        counted = max(1, round(self.truth.tokens * self.d.usage_fraction))
        if self.endpoint == "responses":
            return {"input_tokens": self.prompt_tokens, "output_tokens": counted}
        details = {"prompt_tokens_details": {"cached_tokens": self.cached_tokens}} if self.d.caches else {}
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": counted, **details}

    def _head(self, length: int | None = None) -> None:
        d = self.d
        lines = ["HTTP/1.1 200 OK"]
        if d.content_type:
            lines.append(f"Content-Type: {d.content_type}")
        if d.coding:
            lines.append(f"Content-Encoding: {d.coding.removeprefix('raw ')}")
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif d.framing == "close":
            lines.append("Connection: close")
        else:
            lines.append("Transfer-Encoding: chunked")
        self.wire.write(d.informational + ("\r\n".join(lines) + "\r\n\r\n").encode())

    def _json(self, value: dict[str, object]) -> None:
        body = orjson.dumps(value)
        self._head(len(body))
        self.wire.write(body)

    def _event(self, message: dict[str, object]) -> None:
        body = orjson.dumps(message)
        if self.d.splits_data:
            head, comma, tail = body.partition(b",")
            body = head + comma + b"\ndata: " + tail if comma else body
        self._send(b"data: " + body + b"\n\n")

    def _send(self, data: bytes) -> None:
        data = data.replace(b"\n", self.d.newline)
        if self._held is not None:
            self._held.append(data)
            return
        self._write_body(data)

    def _write_body(self, data: bytes) -> None:
        if self._coder is not None and data:
            data = self._coder.compress(data) + self._coder.flush(zlib.Z_SYNC_FLUSH)
        size = max(1, -(-len(data) // self.d.pieces))
        for i in range(0, len(data), size):
            piece = data[i : i + size]
            self.wire.write(piece if self.d.framing == "close" else b"%x\r\n%s\r\n" % (len(piece), piece))

    def _finish(self) -> None:
        if self._held:
            self._write_body(b"".join(self._held))
        if self._coder is not None:
            rest = self._coder.flush()
            self.wire.write(rest if self.d.framing == "close" else b"%x\r\n%s\r\n" % (len(rest), rest))
        if self.d.framing == "close":
            self.wire.drop()
        else:
            self.wire.write(b"0\r\n" + self.d.trailer + b"\r\n")
