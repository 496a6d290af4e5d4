"""Interpolated Kneser-Ney n-gram model over token ids: the bar that the reference model has to clear."""

from dataclasses import dataclass

import numpy as np

BITS_PER_TOKEN_ID = 12  # five ids of a 4096-word vocabulary fit into one 64-bit key


def ngram_keys(stream: np.ndarray, order: int) -> np.ndarray:
    """The n-gram that ends at each position from ``order - 1`` on, packed into one integer."""
    n = stream.size - order + 1
    keys = np.zeros(n, dtype=np.int64)
    for i in range(order):
        keys = (keys << BITS_PER_TOKEN_ID) | stream[i : i + n].astype(np.int64)
    return keys


@dataclass(frozen=True)
class _Level:
    """Counts of one order: raw counts at the top, continuation counts below."""

    keys: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    context_totals: np.ndarray
    context_types: np.ndarray
    discount: float


def _level(keys: np.ndarray, counts: np.ndarray) -> _Level:
    contexts, start = np.unique(keys >> BITS_PER_TOKEN_ID, return_index=True)
    n1, n2 = int((counts == 1).sum()), int((counts == 2).sum())
    discount = n1 / (n1 + 2 * n2)  # Ney, Essen, Kneser 1994
    totals = np.add.reduceat(counts, start)
    types = np.diff(np.append(start, keys.size))
    return _Level(keys, counts, contexts, totals, types, discount)


def _lookup(table: np.ndarray, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(table, keys), table.size - 1)
    return np.where(table[at] == keys, values[at], 0)


class KneserNey:
    """Interpolated Kneser-Ney with one discount per order (Chen and Goodman 1998, section 4.1.6)."""

    def __init__(self, stream: np.ndarray, *, order: int, vocab_size: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        keys, counts = np.unique(ngram_keys(stream, order), return_counts=True)
        levels = [_level(keys, counts)]
        for n in range(order - 1, 0, -1):
            suffixes = keys & ((1 << (BITS_PER_TOKEN_ID * n)) - 1)  # distinct (n+1)-grams, first word dropped
            keys, counts = np.unique(suffixes, return_counts=True)
            levels.append(_level(keys, counts))
        self.levels = levels[::-1]

    def log2_probability(self, stream: np.ndarray) -> np.ndarray:
        """log2 p of each token from position ``order - 1`` on, given the ``order - 1`` tokens before it."""
        full = ngram_keys(stream, self.order)
        p = np.full(full.size, 1 / self.vocab_size)
        for n, level in enumerate(self.levels, start=1):
            keys = full & ((1 << (BITS_PER_TOKEN_ID * n)) - 1)
            contexts = keys >> BITS_PER_TOKEN_ID
            counts = _lookup(level.keys, level.counts, keys)
            totals = _lookup(level.contexts, level.context_totals, contexts)
            types = _lookup(level.contexts, level.context_types, contexts)
            seen = totals > 0
            safe = np.maximum(totals, 1)
            mixed = np.maximum(counts - level.discount, 0) / safe + level.discount * types / safe * p
            p = np.where(seen, mixed, p)
        return np.log2(p)
