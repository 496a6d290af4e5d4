"""Answers that were given before: exact questions only, never across tenants, models or sampling, computed once at a time."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import InvalidSpec

Clock = Callable[[], float]
# What says how an answer is delivered and not what it is.
DELIVERY = frozenset({"stream", "stream_options", "user", "metadata", "request_id", "priority", "timeout"})


def is_repeatable(asked: Mapping[str, Any]) -> bool:
    """Whether the same question has the same answer: greedy, one answer, no tools that act, no seedless sampling."""
    temperature = asked.get("temperature")
    return (
        isinstance(temperature, int | float)
        and not isinstance(temperature, bool)
        and temperature == 0
        and asked.get("n", 1) == 1
        and asked.get("best_of", 1) in {1, None}
        and not asked.get("tools")
    )


def cache_key(asked: Mapping[str, Any], *, tenant: str, model_digest: str, endpoint: str) -> str:
    """A digest of everything that an answer depends on, whatever the order of fields.

    Args:
        asked: The request's JSON.
        tenant: Whose answers are not shown to others.
        model_digest: Of the weights that answer, so that a new version has no old answers.
        endpoint: Path of the question.
    """
    kept = {k: v for k, v in asked.items() if k not in DELIVERY}
    text = json.dumps([endpoint, tenant, model_digest, kept], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class _Entry:
    body: bytes
    until_s: float


class AnswerCache:
    """Bodies by key, for a while, within a number of bytes; the one that was used longest ago goes first.

    Args:
        max_bytes: Of bodies and keys together.
        ttl_s: Of an answer.
        clock: Seconds that never go back.
        largest: Share of the bytes that one answer may take.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float, clock: Clock, largest: float = 0.1) -> None:
        if max_bytes < 1 or ttl_s <= 0 or not 0 < largest <= 1:
            raise InvalidSpec(
                f"{max_bytes} bytes, {ttl_s} s, {largest} of it for one.",
                remedy="Give numbers above zero, and a share up to 1.",
            )
        self._max_bytes, self._ttl_s, self._clock, self._largest = max_bytes, ttl_s, clock, largest
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self.n_bytes = 0
        self.n_hits = self.n_misses = self.n_shared = 0

    def get(self, key: str) -> bytes | None:
        """A body that is still good."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock() >= entry.until_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.body

    def put(self, key: str, body: bytes) -> bool:
        """Keep a body; False when it is too large."""
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
        """A kept body; or None, and it is the caller's turn to make and ``put`` it before the block ends.

        Whoever asks the same meanwhile waits. When the one whose turn it is fails or goes away, the next in line has its turn; nobody gets
        another's failure.
        """
        has_waited = False
        while (kept := self.get(key)) is None and (other := self._under_way.get(key)) is not None:
            has_waited = True
            await asyncio.wait([other])
        if kept is not None:
            self.n_shared += has_waited
            self.n_hits += not has_waited
            yield kept
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way[key] = mine
        self.n_misses += 1
        try:
            yield None
        finally:
            del self._under_way[key]
            mine.set_result(None)
