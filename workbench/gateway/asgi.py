"""ASGI messages as types: answers, refusals, and clients that disconnect."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property

import msgspec

from workbench.core.rows import Json

Scope = Mapping[str, object]
Receive = Callable[[], Awaitable[Mapping[str, object]]]
Send = Callable[[Mapping[str, object]], Awaitable[None]]
GONE = 499  # as nginx writes it: the client disconnected before the answer


class HttpScope(msgspec.Struct, kw_only=True, frozen=True, dict=True):
    """Head of an HTTP request, from the ASGI scope."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    client: tuple[str, int] | None = None

    @property
    def address(self) -> str:
        """Address that the client connects from."""
        return self.client[0] if self.client else "unknown"

    @cached_property
    def header(self) -> Mapping[bytes, bytes]:
        """Headers by their name in lower case."""
        return dict(self.headers)

    @property
    def header_bytes(self) -> int:
        """Bytes of all header names and values."""
        return sum(len(k) + len(v) for k, v in self.headers)


class Message(msgspec.Struct, frozen=True):
    """A message from the ASGI server."""

    type: str
    body: bytes = b""
    more_body: bool = False


async def receive_message(receive: Receive) -> Message:
    """Return the next message of the connection."""
    return msgspec.convert(await receive(), Message)


class Denied(Exception):
    """A request that the gateway refuses."""

    def __init__(
        self, status: int, code: str, text: str, *, retry_after_s: float | None = None, field: str | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.field = status, code, text, field
        self.retry_after_s = retry_after_s


class Sender:
    """Writer of the ASGI messages of one answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun, self.has_ended, self.status = False, False, 0

    async def begin(self, status: int, content_type: str, *, more: Mapping[str, str | None] | None = None) -> None:
        """Send the status and the headers."""
        self.has_begun, self.status = True, status
        headers = [(b"content-type", content_type.encode("latin-1")), (b"cache-control", b"no-store")]
        headers += [(k.encode(), v.encode("latin-1", "replace")) for k, v in (more or {}).items() if v is not None]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def more(self, body: bytes) -> None:
        """Send a chunk of the body."""
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes = b"") -> None:
        """Send the last chunk of the body."""
        self.has_ended = True
        await self._send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def stopping_when_gone(receive: Receive, send: Sender) -> AsyncIterator[None]:
    """Cancel the block when the client disconnects before its answer has ended, so that the server behind stops; raises ``Denied`` then."""
    task = asyncio.current_task()
    assert task is not None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        while (await receive_message(receive)).type != "http.disconnect":
            pass
        if send.has_ended:
            return
        is_gone = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not is_gone:
            raise
        task.uncancel()
        raise Denied(GONE, "client_gone", "The client disconnected.") from None
    finally:
        watching.cancel()


async def read_body(scope: HttpScope, receive: Receive, *, most_bytes: int, timeout_s: float) -> bytes:
    """Return the body; raises ``Denied`` for one that is too large or too slow."""
    length = scope.header.get(b"content-length", b"")
    if length.isdigit() and int(length) > most_bytes:
        raise Denied(413, "too_large", f"The body has {int(length)} bytes; the limit is {most_bytes}.")
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive_message(receive)
                if message.type == "http.disconnect":
                    raise Denied(GONE, "client_gone", "The client disconnected.")
                body += message.body
                if len(body) > most_bytes:
                    raise Denied(413, "too_large", f"The body exceeds the limit of {most_bytes} bytes.")
                if not message.more_body:
                    return bytes(body)
    except TimeoutError as error:
        raise Denied(408, "too_slow", f"The body was not received within {timeout_s:g} s.") from error


async def deny(send: Send, denied: Denied) -> None:
    """Send a refusal with its reason and, where it is known, the time after which to retry."""
    error = {"message": denied.text, "type": "gateway_error", "code": denied.code, "param": denied.field}
    wait_s = denied.retry_after_s
    after = [] if wait_s is None else [(b"retry-after", b"%d" % max(1, round(wait_s + 0.5)))]
    await reply_bytes(send, denied.status, json.dumps({"error": error}).encode(), "application/json", after)


async def reply(send: Send, status: int, value: Json) -> None:
    """Send a value as a JSON answer."""
    await reply_bytes(send, status, json.dumps(value).encode(), "application/json")


async def reply_bytes(
    send: Send, status: int, body: bytes, kind: str, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Send an answer whose body is known."""
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
