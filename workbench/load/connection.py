"""One HTTP/1.1 connection that notes when each event of a streamed answer arrived."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Protocol
from urllib.parse import urlsplit


class Answer(Protocol):
    """Receives what arrives for one request; times are ``perf_counter_ns``."""

    def event(self, at_ns: int, data: bytes) -> None:
        """One server-sent event, or the whole body of an answer that is no stream."""

    def ended(self, at_ns: int, status: int, failure: str | None) -> None:
        """The last call for a request; ``failure`` is None when the body is complete."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens."""

    host: str
    port: int
    tls: bool
    prefix: str

    @classmethod
    def of(cls, base_url: str) -> "Target":
        """The target of a base URL."""
        parts = urlsplit(base_url)
        tls = parts.scheme == "https"
        return cls(parts.hostname or "localhost", parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """The bytes of a request that keeps its connection open."""
        lines = [
            f"{method} {self.prefix}{path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass(slots=True)
class _Reading:
    """Where the parser stands in one answer."""

    status: int = 0
    chunked: bool = False
    missing: int | None = None
    """Bytes still to come of the body or the chunk; None: to the end of the connection."""
    stream: bool = False
    events: bytearray = field(default_factory=bytearray)
    in_body: bool = False
    last_chunk: bool = False


class Connection(asyncio.Protocol):
    """Sends one request at a time and parses its answer as it comes in."""

    def __init__(self, on_free: Callable[["Connection"], None], on_lost: Callable[["Connection"], None]) -> None:
        self._on_free, self._on_lost = on_free, on_lost
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._buffer = bytearray()
        self._reading = _Reading()
        self._keep = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes, answer: Answer) -> int:
        """Hand a request to the socket; the time at which that was done."""
        assert self._transport is not None
        self._answer, self._reading, self._buffer = answer, _Reading(), bytearray()
        self._transport.write(request)
        return perf_counter_ns()

    def abort(self, why: str) -> None:
        """Give the request up and close."""
        answer, self._answer = self._answer, None
        if self._transport is not None:
            self._transport.abort()
        if answer is not None:
            answer.ended(perf_counter_ns(), self._reading.status, why)

    def data_received(self, data: bytes) -> None:
        now = perf_counter_ns()
        if self._answer is None:
            return
        self._buffer += data
        try:
            self._parse(now)
        except ValueError as error:
            self.abort(f"the answer is not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        now = perf_counter_ns()
        reading, answer = self._reading, self._answer
        self._answer = None
        self._on_lost(self)
        if answer is None:
            return
        if reading.in_body and not reading.chunked and reading.missing is None and exc is None:
            self._flush(now, answer)
            answer.ended(now, reading.status, None)
            return
        what = f"{exc}" if exc else "the server closed it"
        when = "in the middle of the answer" if reading.in_body else "before any answer"
        answer.ended(now, reading.status, f"connection lost {when}: {what}")

    def _parse(self, now: int) -> None:
        reading = self._reading
        if not reading.in_body and not self._read_head():
            return
        while self._answer is not None:
            if not (self._parse_chunk(now) if reading.chunked else self._parse_rest(now)):
                return

    def _parse_chunk(self, now: int) -> bool:
        """Read one chunk or what there is of it; whether more may follow in the buffer."""
        reading = self._reading
        if reading.missing is None and not self._read_chunk_size():
            return False
        if reading.last_chunk:
            if b"\r\n" in self._buffer:
                self._complete(now)
            return False
        self._take(now)
        if reading.missing or len(self._buffer) < 2:
            return False
        del self._buffer[:2]
        reading.missing = None
        return True

    def _parse_rest(self, now: int) -> bool:
        self._take(now)
        if self._reading.missing == 0:
            self._complete(now)
        return False

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        reading = self._reading
        reading.status = int(first.split(" ", 2)[1])
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        reading.chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        if not reading.chunked and "content-length" in headers:
            reading.missing = int(headers["content-length"])
        reading.stream = "text/event-stream" in headers.get("content-type", "") and reading.status == 200
        self._keep = headers.get("connection", "").lower() != "close"
        reading.in_body = True
        return True

    def _read_chunk_size(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        size = int(bytes(self._buffer[:end]).split(b";")[0], 16)
        del self._buffer[: end + 2]
        self._reading.missing = size
        self._reading.last_chunk = size == 0
        return True

    def _take(self, now: int) -> None:
        """Move what belongs to the body on to the events."""
        reading = self._reading
        n = len(self._buffer) if reading.missing is None else min(reading.missing, len(self._buffer))
        reading.events += self._buffer[:n]
        del self._buffer[:n]
        if reading.missing is not None:
            reading.missing -= n
        if reading.stream and n:
            self._cut_events(now)

    def _cut_events(self, now: int) -> None:
        events = self._reading.events
        if b"\r" in events:
            events[:] = events.replace(b"\r\n", b"\n")
        while (end := events.find(b"\n\n")) >= 0:
            data = _event_data(bytes(events[:end]))
            del events[: end + 2]
            if data and self._answer is not None:
                self._answer.event(now, data)

    def _flush(self, now: int, answer: Answer) -> None:
        if self._reading.events:
            left = bytes(self._reading.events)
            answer.event(now, _event_data(left) if self._reading.stream else left)

    def _complete(self, now: int) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        self._flush(now, answer)
        status = self._reading.status
        if self._keep:
            self._on_free(self)
        elif self._transport is not None:
            self._transport.close()
        answer.ended(now, status, None)


def _event_data(event: bytes) -> bytes:
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [line[5:].lstrip(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


class Pool:
    """Open connections to one server; the one used last is used again first."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._tls = ssl.create_default_context() if target.tls else None

    def take(self) -> Connection | None:
        """A free connection, if there is one."""
        return self._free.pop() if self._free else None

    async def open(self) -> Connection:
        """A new connection; raises ``OSError`` when the server cannot be reached."""
        loop = asyncio.get_running_loop()
        made: tuple[Any, Connection] = await loop.create_connection(
            lambda: Connection(self._free.append, self._lost), self.target.host, self.target.port, ssl=self._tls
        )
        self._all.add(made[1])
        return made[1]

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._all):
            connection.abort("the load has ended")
