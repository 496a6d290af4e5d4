"""Cache of answers to identical requests, never shared between tenants, models or sampling settings; each answer is computed once at a time."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from workbench.core.errors import InvalidSpec
from workbench.core.rows import Json
from workbench.gateway.endpoints import Request
from workbench.gateway.token_bucket import Clock

# Fields that say how an answer is delivered, not what it is.
DELIVERY = frozenset({"stream", "stream_options", "user", "metadata", "request_id", "priority", "timeout"})


def is_repeatable(request: Request) -> bool:
    """Return whether the same request always has the same answer: greedy decoding, and one answer."""
    return request.temperature == 0 and (request.n or 1) == 1


def cache_key(asked: Mapping[str, Json], *, tenant: str, model_digest: str, endpoint: str) -> str:
    """Return a digest of everything that an answer depends on, the model's version included; the order of fields does not matter."""
    relevant = {k: v for k, v in asked.items() if k not in DELIVERY}
    text = json.dumps(
        [endpoint, tenant, model_digest, relevant], sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class _Entry:
    body: bytes
    until_s: float


class AnswerCache:
    """Bodies by key with a time to live and a size limit; the least recently used body is evicted first.

    ``max_bytes`` counts bodies and keys; one answer may take at most the share ``largest`` of it.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float, clock: Clock, largest: float = 0.1) -> None:
        if max_bytes < 1 or ttl_s <= 0 or not 0 < largest <= 1:
            raise InvalidSpec(
                f"{max_bytes} bytes, {ttl_s} s, {largest} of it for one.",
                remedy="Give numbers above zero, and a share of at most 1.",
            )
        self._max_bytes, self._ttl_s, self._clock, self._largest = max_bytes, ttl_s, clock, largest
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self.n_bytes = 0

    def get(self, key: str) -> bytes | None:
        """Return a body that has not expired; None where there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock() >= entry.until_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.body

    def put(self, key: str, body: bytes) -> bool:
        """Keep a body; return False for one that is too large."""
        size = len(body) + len(key)
        if size > self._largest * self._max_bytes:
            return False
        if key in self._entries:
            self._drop(key)
        self._entries[key] = _Entry(body, self._clock() + self._ttl_s)
        self.n_bytes += size
        while self.n_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key)
        self.n_bytes -= len(entry.body) + len(key)

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[bytes | None]:
        """Yield a kept body; or None, and the caller computes it and calls ``put`` before the block ends.

        Other callers with the same key wait meanwhile. When the caller that computes fails or is cancelled, the next one computes; no caller gets
        the failure of another.
        """
        while (body := self.get(key)) is None and (other := self._under_way.get(key)) is not None:
            await asyncio.wait([other])
        if body is not None:
            yield body
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way[key] = mine
        try:
            yield None
        finally:
            del self._under_way[key]
            mine.set_result(None)
