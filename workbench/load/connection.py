"""Connections that carry one request at a time and note when the parts of its answer arrived."""

import asyncio
import ssl
from collections.abc import Callable
from time import perf_counter_ns
from typing import Protocol

from workbench.load.address import Address
from workbench.load.response import ResponseReader


class Answer(Protocol):
    """Receives what arrives for one request; times are ``perf_counter_ns``."""

    def received(self, at_ns: int, data: bytes) -> None:
        """Take a piece of the decoded body."""

    def ended(self, at_ns: int, response: ResponseReader, failure: str | None) -> None:
        """Take the last call for a request; ``failure`` is None when the response is complete."""


def request_head(method: str, address: Address, target: str, headers: dict[str, str], n_bytes: int) -> bytes:
    """Return the head of a request that keeps its connection open; ``headers`` replace the usual ones of their name."""
    usual = {
        "Host": address.host_header,
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "workbench",
    }
    given = {name.lower() for name in headers}
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in usual.items() if name.lower() not in given]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if n_bytes or method != "GET":
        lines.append(f"Content-Length: {n_bytes}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def tls_context(*, checks: bool, ca: str | None) -> ssl.SSLContext:
    """Return the settings of TLS; raises ``OSError`` for a file without certificates.

    Args:
        checks: Whether the server's certificate must be valid.
        ca: File with the certificates of private authorities, in PEM.
    """
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(ca)
    if not checks:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Connection(asyncio.Protocol):
    """Sends one request at a time and reads its answer as it comes in."""

    def __init__(self, on_free: Callable[["Connection"], None], on_lost: Callable[["Connection"], None]) -> None:
        self._on_free, self._on_lost = on_free, on_lost
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._response = ResponseReader(self._body)
        self._now = 0
        self.opening_ns = 0
        """Time that it took to open, about that of a round trip."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    @property
    def is_open(self) -> bool:
        """Whether a request can still be written to it."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes, answer: Answer) -> int:
        """Hand a request to the socket and return the time just before.

        The write can wake the server on this core: a time taken after it then misses what the server did meanwhile.
        """
        assert self._transport is not None
        self._answer, self._response = answer, ResponseReader(self._body)
        sent_ns = perf_counter_ns()
        if len(body) < 65_536:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return sent_ns

    def abort(self, why: str) -> None:
        """Give the request up and close."""
        answer, self._answer = self._answer, None
        if self._transport is not None:
            self._transport.abort()
        if answer is not None:
            answer.ended(perf_counter_ns(), self._response, why)

    def data_received(self, data: bytes) -> None:
        self._now = perf_counter_ns()
        if self._answer is None:
            if self._transport is not None:
                self._transport.close()  # nobody asked for it: what follows could be taken for the next answer
            return
        try:
            self._response.feed(data)
        except ValueError as error:
            self.abort(str(error))
            return
        if self._response.is_complete and self._answer is not None:
            self._finish()

    def _body(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.received(self._now, data)

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        if self._response.keeps_alive and self.is_open:
            self._on_free(self)
        elif self._transport is not None:
            self._transport.close()
        answer.ended(self._now, self._response, None)

    def connection_lost(self, exc: Exception | None) -> None:
        now = perf_counter_ns()
        answer, self._answer = self._answer, None
        self._on_lost(self)
        if answer is None:
            return
        response = self._response
        if exc is None and response.ends():
            answer.ended(now, response, None)
            return
        what = f"{exc}" if exc else "the server closed it"
        when = "in the middle of the answer" if response.has_head else "before any answer"
        answer.ended(now, response, f"connection lost {when}: {what}")


class Pool:
    """Open connections to one server; the one used last is used again first."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None) -> None:
        self.address, self._tls = address, tls
        self._free: dict[Connection, None] = {}
        self._all: set[Connection] = set()

    def take(self) -> Connection | None:
        """Return a free connection, if there is one."""
        while self._free:
            connection, _ = self._free.popitem()
            if connection.is_open:
                return connection
        return None

    async def open(self) -> Connection:
        """Return a new connection; raises ``OSError`` when the server cannot be reached."""
        started = perf_counter_ns()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._freed, self.forget), self.address.host, self.address.port, ssl=self._tls
        )
        connection.opening_ns = perf_counter_ns() - started
        self._all.add(connection)
        return connection

    def _freed(self, connection: Connection) -> None:
        self._free[connection] = None

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is closed."""
        self._all.discard(connection)
        self._free.pop(connection, None)

    def close(self) -> None:
        """Close all connections, and fail their requests."""
        for connection in list(self._all):
            connection.abort("the load has ended")
