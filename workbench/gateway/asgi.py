"""ASGI's messages in a few words: answers, refusals, and clients that leave."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
GONE = 499  # as nginx writes it: the client left before its answer


class Denied(Exception):
    """A request that is answered by the gateway itself."""

    def __init__(
        self, status: int, code: str, text: str, *, retry_after_s: float | None = None, field: str | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.field = status, code, text, field
        self.retry_after_s = retry_after_s


class Sender:
    """ASGI's messages of one answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun, self.status = False, 0

    async def begin(self, status: int, content_type: str, *, more: Mapping[str, str | None] | None = None) -> None:
        """Status and headers."""
        self.has_begun, self.status = True, status
        headers = [(b"content-type", content_type.encode("latin-1")), (b"cache-control", b"no-store")]
        headers += [(k.encode(), v.encode("latin-1", "replace")) for k, v in (more or {}).items() if v is not None]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def more(self, body: bytes) -> None:
        """A piece."""
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes = b"") -> None:
        """The last piece."""
        await self._send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def stopping_when_gone(receive: Receive) -> AsyncIterator[None]:
    """Stop the block when the client goes away, so that the server behind stops working for nobody; raises ``Denied`` then."""
    task = asyncio.current_task()
    assert task is not None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not is_gone:
            raise
        task.uncancel()
        raise Denied(GONE, "client_gone", "The client went away.") from None
    finally:
        watching.cancel()


async def deny(send: Send, denied: Denied) -> None:
    """Say why a request is not answered, and when it may come again."""
    error = {"message": denied.text, "type": "gateway_error", "code": denied.code, "param": denied.field}
    headers = []
    if denied.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(denied.retry_after_s + 0.5))).encode()))
    await reply_bytes(send, denied.status, json.dumps({"error": error}).encode(), "application/json", headers)


async def reply(send: Send, status: int, value: Any) -> None:
    """A JSON answer."""
    await reply_bytes(send, status, json.dumps(value).encode(), "application/json")


async def reply_bytes(
    send: Send, status: int, body: bytes, kind: str, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    """A whole answer."""
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
