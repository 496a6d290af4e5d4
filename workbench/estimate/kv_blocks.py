"""A paged KV cache's bookkeeping: which block holds which tokens, who shares it, what goes first when room is short."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from workbench.core.errors import DoesNotFit, InvalidSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """How full a cache is."""

    n_blocks: int
    in_use: int
    """Blocks that a living sequence holds."""
    shared: int
    """Of these, held by more than one."""
    cached: int
    """Held by none, kept for a prefix that may come again."""
    tokens: int
    """Distinct tokens in blocks in use."""
    block_tokens: int

    @property
    def free(self) -> int:
        """Blocks that can be given out, those that are evicted for it included."""
        return self.n_blocks - self.in_use

    @property
    def internal_fragmentation_fraction(self) -> float:
        """Share of the room in used blocks that no token fills: at most one block per sequence is begun."""
        room = self.in_use * self.block_tokens
        return 1 - self.tokens / room if room else 0.0


@dataclass(slots=True)
class _Block:
    key: tuple[int, ...] | None = None
    """The text up to this block's end, as a chain of hashes; None while it is not full."""
    holders: int = 0
    filled: int = 0


@dataclass(slots=True)
class _Sequence:
    blocks: list[int] = field(default_factory=list)
    n_tokens: int = 0
    tail: list[int] = field(default_factory=list)
    """Tokens of the block that is not full yet."""


class BlockManager:
    """Allocation in whole blocks, prefixes shared by their content, least recently used blocks evicted first.

    Args:
        n_blocks: Blocks of the cache.
        block_tokens: Tokens of a block.
        share_prefixes: Whether full blocks with the same text up to their end are one.
    """

    def __init__(self, n_blocks: int, *, block_tokens: int = 16, share_prefixes: bool = True) -> None:
        if n_blocks < 1 or block_tokens < 1:
            raise InvalidSpec(f"{n_blocks} blocks of {block_tokens} tokens.", remedy="Give numbers from 1 on.")
        self.n_blocks, self.block_tokens, self.share_prefixes = n_blocks, block_tokens, share_prefixes
        self._blocks = [_Block() for _ in range(n_blocks)]
        self._unused = list(range(n_blocks - 1, -1, -1))
        self._evictable: OrderedDict[int, None] = OrderedDict()
        self._by_key: dict[tuple[int, ...], int] = {}
        self._sequences: dict[str, _Sequence] = {}
        self.n_evicted = 0
        self.n_hit_tokens = 0

    def blocks_of(self, name: str) -> tuple[int, ...]:
        """The block table of a sequence."""
        return tuple(self._sequences[name].blocks)

    def add(self, name: str, tokens: Sequence[int]) -> int:
        """Take a sequence in; the tokens of its prefix that were there already.

        Raises ``DoesNotFit``, and changes nothing, when there is no room.
        """
        if name in self._sequences:
            raise InvalidSpec(f"The sequence {name} is in the cache already.", remedy="Free it first.")
        keys = self._keys(tokens)
        hits = self._found(keys)
        needed = ceil(len(tokens) / self.block_tokens) - len(hits)
        taken_back = sum(b in self._evictable for b in hits)
        if needed > self.n_free - taken_back:
            raise DoesNotFit(
                f"{needed} blocks are needed and {self.n_free - taken_back} are free.",
                remedy="Wait until a sequence ends, or preempt one.",
            )
        sequence = _Sequence()
        self._sequences[name] = sequence
        for block in hits:
            self._hold(block)
            sequence.blocks.append(block)
        sequence.n_tokens = len(hits) * self.block_tokens
        self.n_hit_tokens += sequence.n_tokens
        self._write(sequence, tokens[sequence.n_tokens :])
        return len(hits) * self.block_tokens

    def append(self, name: str, token: int) -> None:
        """One more token; raises ``DoesNotFit``, and changes nothing, when it needs a block and none is free."""
        sequence = self._sequences[name]
        if not sequence.tail and self.n_free == 0:
            raise DoesNotFit("No block is free for the next token.", remedy="Preempt a sequence.")
        self._write(sequence, [token])

    def free(self, name: str) -> None:
        """Give a sequence's blocks back; full ones stay until their room is needed."""
        for block in reversed(self._sequences.pop(name).blocks):  # ends go first: a prefix is worth more than its tail
            entry = self._blocks[block]
            entry.holders -= 1
            if entry.holders:
                continue
            if entry.key is not None and self._by_key.get(entry.key) == block:
                self._evictable[block] = None
            else:
                self._blocks[block] = _Block()
                self._unused.append(block)

    @property
    def n_free(self) -> int:
        """Blocks that can be given out."""
        return len(self._unused) + len(self._evictable)

    def occupancy(self) -> Occupancy:
        """How full the cache is."""
        held = [b for b in self._blocks if b.holders]
        return Occupancy(
            n_blocks=self.n_blocks,
            in_use=len(held),
            shared=sum(b.holders > 1 for b in held),
            cached=len(self._evictable),
            tokens=sum(b.filled for b in held),
            block_tokens=self.block_tokens,
        )

    def _keys(self, tokens: Sequence[int]) -> list[tuple[int, ...]]:
        """Names of the full blocks of a text: the block's tokens and the name of the one before."""
        keys: list[tuple[int, ...]] = []
        size = self.block_tokens
        for at in range(0, len(tokens) - size + 1, size):
            before = hash(keys[-1]) if keys else 0
            keys.append((before, *tokens[at : at + size]))
        return keys

    def _found(self, keys: Sequence[tuple[int, ...]]) -> list[int]:
        hits: list[int] = []
        if self.share_prefixes:
            for key in keys:
                if key not in self._by_key:
                    break
                hits.append(self._by_key[key])
        return hits

    def _hold(self, block: int) -> None:
        self._blocks[block].holders += 1
        self._evictable.pop(block, None)

    def _taken(self) -> int:
        if self._unused:
            return self._unused.pop()
        block, _ = self._evictable.popitem(last=False)
        self.n_evicted += 1
        key = self._blocks[block].key
        assert key is not None
        del self._by_key[key]
        self._blocks[block] = _Block()
        return block

    def _write(self, sequence: _Sequence, tokens: Sequence[int]) -> None:
        for token in tokens:
            if not sequence.tail:
                block = self._taken()
                self._blocks[block].holders = 1
                sequence.blocks.append(block)
            block = sequence.blocks[-1]
            sequence.tail.append(token)
            sequence.n_tokens += 1
            self._blocks[block].filled = len(sequence.tail)
            if len(sequence.tail) == self.block_tokens:
                self._close(sequence, block)

    def _close(self, sequence: _Sequence, block: int) -> None:
        """A block is full: it gets its name, unless another has the same text already."""
        before = 0
        if len(sequence.blocks) > 1:
            previous = self._blocks[sequence.blocks[-2]].key
            before = hash(previous) if previous is not None else 0
        key = (before, *sequence.tail)
        self._blocks[block].key = key
        if self.share_prefixes:
            self._by_key.setdefault(key, block)
        sequence.tail = []
