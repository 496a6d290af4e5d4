"""A prefix cache in blocks, as vLLM keeps it.

Blocks of requests that ended go to the end of one queue, the last block of a request first, and stay known there until the room is
needed: new blocks come from the front. A request takes the blocks that it finds known out of the queue, and shares them. At least
one token of a prompt is computed, so a prompt that is known to its end computes its last block again (vllm/v1/core/block_pool.py
and kv_cache_manager.py, 0.11 to 0.26).

A trace's id stands for many blocks (Mooncake: 512 tokens, 32 blocks), which come and go from their end. So the queue holds spans of
an id's blocks, and the work is in proportion to the ids. What is computed again is taken to lie in the same block as before; in vLLM
it is a second copy.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

BLOCK_TOKENS = 16  # vLLM's default --block-size


@dataclass(slots=True, eq=False)
class _Part:
    """The blocks that one id stands for, of which the first so many are in the cache."""

    key: int
    resident: int = 0
    pinned: int = 0
    """Leading blocks that running requests hold."""
    holders: dict[int, int] = field(default_factory=dict)
    """How many requests hold so many leading blocks."""
    spans: list[list[int]] = field(default_factory=list)
    """First block and turn of each span in the queue; later spans went there earlier."""

    def pin(self, n: int) -> None:
        """Hold the first so many blocks once more."""
        self.holders[n] = self.holders.get(n, 0) + 1
        self.pinned = max(self.pinned, n)

    def unpin(self, n: int) -> None:
        """Hold the first so many blocks once less."""
        left = self.holders[n] - 1
        if left:
            self.holders[n] = left
            return
        del self.holders[n]
        if n == self.pinned:
            self.pinned = max(self.holders, default=0)

    def take_out(self, n: int) -> None:
        """Take the first so many blocks out of the queue."""
        spans = self.spans
        while spans and spans[0][0] < n:
            end = spans[1][0] if len(spans) > 1 else self.resident
            if end > n:
                spans[0][0] = n
                return
            del spans[0]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a prompt is made of."""

    tokens: int
    hash_ids: Sequence[int] = ()
    block_tokens: int = BLOCK_TOKENS
    """Tokens that each of ``hash_ids`` stands for."""

    @property
    def n_blocks(self) -> int:
        """Return the blocks that it takes."""
        return -(-self.tokens // BLOCK_TOKENS)


@dataclass(slots=True)
class Held:
    """Blocks of a running request."""

    parts: list[tuple[_Part, int]]
    unnamed: int
    """Blocks of its prompt that no id names, or that are not full."""
    hit_tokens: int
    """Tokens that were known when it began."""


class PrefixCache:
    """The blocks of one engine: those that requests hold, and a queue of those that new ones may take."""

    def __init__(self, n_blocks: int) -> None:
        """Take the number of blocks, of which none is known."""
        self.n_blocks = self.n_free = n_blocks
        self._parts: dict[int, _Part] = {}
        self._queue: deque[tuple[_Part | None, int]] = deque(
            [(None, n_blocks)]
        )  # a part and its turn, or unnamed blocks
        self._turn = 0

    def known_tokens(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt that need not be computed."""
        per_id = max(1, prompt.block_tokens // BLOCK_TOKENS)
        left, n_known = (prompt.tokens - 1) // BLOCK_TOKENS, 0
        for key in prompt.hash_ids:
            part = self._parts.get(key)
            n = min(part.resident, per_id, left) if part is not None else 0
            n_known += n
            left -= n
            if n < per_id:
                break
        return n_known * BLOCK_TOKENS

    def claim(self, prompt: Prompt) -> int:
        """Return the blocks that a prompt would take out of the queue: all that no running request holds already."""
        per_id = max(1, prompt.block_tokens // BLOCK_TOKENS)
        left, shared = prompt.tokens // BLOCK_TOKENS, 0
        for key in prompt.hash_ids:
            part = self._parts.get(key)
            if part is None or left <= 0:
                break
            shared += min(part.pinned, per_id, left)
            left -= per_id
        return prompt.n_blocks - shared

    def begin(self, prompt: Prompt) -> Held:
        """Give a prompt its blocks, known ones first; its ``claim`` must be free."""
        hit = self.known_tokens(prompt)
        per_id = max(1, prompt.block_tokens // BLOCK_TOKENS)
        left = prompt.tokens // BLOCK_TOKENS
        parts, n_named, n_new = [], 0, 0
        for key in prompt.hash_ids:
            n = per_id if per_id < left else left
            if n <= 0:
                break
            part = self._parts.get(key)
            if part is None:
                part = self._parts[key] = _Part(key, 0, n, {n: 1}, [])
                n_new += n
            else:
                known = min(part.resident, n)
                if known > part.pinned:
                    self.n_free -= known - part.pinned
                    part.take_out(known)
                n_new += max(0, n - max(part.resident, part.pinned))
                part.pin(n)
            parts.append((part, n))
            n_named += n
            left -= n
        unnamed = prompt.n_blocks - n_named
        self._take(n_new + unnamed)
        for part, n in parts:
            if part.resident < n:
                part.resident = n
        return Held(parts, unnamed, hit)

    def grow(self, n: int) -> int:
        """Take so many blocks for answers, or as many as are free, and return how many."""
        n = min(n, self.n_free)
        self._take(n)
        return n

    def end(self, held: Held, *, grown: int = 0) -> None:
        """Put the blocks of a request into the queue, the last ones first, with those that its answer had taken."""
        unnamed = held.unnamed + grown
        if unnamed:
            self._queue.append((None, unnamed))
            self.n_free += unnamed
        self._turn += 1
        turn, queue = self._turn, self._queue
        for part, n in reversed(held.parts):
            part.unpin(n)
            if part.pinned < n:
                part.spans.insert(0, [part.pinned, turn])
                self.n_free += n - part.pinned
                queue.append((part, turn))

    def _take(self, n: int) -> None:
        """Take blocks from the front of the queue; what they held is no longer known."""
        assert n <= self.n_free, f"{n} of {self.n_free} blocks"
        self.n_free -= n
        queue = self._queue
        while n:
            part, turn = queue[0]
            if part is None:
                if turn > n:  # here the number of unnamed blocks
                    queue[0] = (None, turn - n)
                    return
                queue.popleft()
                n -= turn
                continue
            if not part.spans or part.spans[-1][1] != turn:
                queue.popleft()  # has been taken out since
                continue
            first = part.spans[-1][0]
            taken = min(n, part.resident - first)
            part.resident -= taken
            n -= taken
            if part.resident == first:
                part.spans.pop()
                queue.popleft()
                if not part.resident and not part.holders:
                    del self._parts[part.key]
