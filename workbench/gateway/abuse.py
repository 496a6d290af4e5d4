"""Signals of model extraction by API key: how much it asks, and how varied its prompts are.

A client that trains on the answers sends many prompts and hardly ever repeats one; an application sends few, or repeats the same prefix.
These are signals for an operator and no proof: a test set looks the same, and a slow copy spread over many keys is not detected. Of a prompt only a
hash of it and of its prefix is kept, in a sketch of fixed size.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from math import exp
from statistics import median

from workbench.core.errors import InvalidSpec
from workbench.gateway.token_bucket import Clock

SKETCH = 128
BEGINNING = 64  # characters
LEAST_ASKED = 200.0


class DistinctCount:
    """Estimate of how many different texts were added, within 9 %: k minimum hash values (Bar-Yossef and others 2002)."""

    def __init__(self, k: int = SKETCH) -> None:
        if k < 2:
            raise InvalidSpec(f"k is {k}.", remedy="Give two or more.")
        self._k = k
        self._kept: set[float] = set()
        self._largest = 1.0

    def add(self, text: str) -> None:
        """Count a text; one that was added before changes nothing."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        at = int.from_bytes(digest, "big") / 2**64
        if len(self._kept) < self._k:
            self._kept.add(at)
        elif at < self._largest and at not in self._kept:
            self._kept.remove(self._largest)
            self._kept.add(at)
        else:
            return
        if len(self._kept) == self._k:
            self._largest = max(self._kept)

    @property
    def estimate(self) -> float:
        """Estimated number of different texts."""
        return float(len(self._kept)) if len(self._kept) < self._k else (self._k - 1) / self._largest


@dataclass(slots=True)
class _Key:
    asked: float = 0.0
    tokens: float = 0.0
    at_s: float = 0.0
    n: int = 0
    whole: DistinctCount = field(default_factory=DistinctCount)
    beginnings: DistinctCount = field(default_factory=DistinctCount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Signals of model extraction by one key."""

    asked: float
    """Requests, weighted down with their age."""
    volume: float
    """Answer tokens, as a multiple of the median of the other keys."""
    diversity: float
    """Share of the prompts that are different from all others; 1: no prompt was repeated."""
    beginnings: float
    """Share of the prefixes that are different; near 0 where an application begins every prompt with its own text."""
    is_suspicious: bool
    """Whether the key asks far more than the others, with prompts that do not look like an application's."""


class AbuseWatch:
    """Signals of every key, in bounded memory.

    The weight of a request falls to a third after ``memory_s``; beyond ``max_keys`` the least recently used key is forgotten.
    """

    def __init__(self, *, clock: Clock, memory_s: float = 86_400.0, max_keys: int = 10_000) -> None:
        if memory_s <= 0 or max_keys < 1:
            raise InvalidSpec(f"{memory_s} s, {max_keys} keys.", remedy="Give numbers above zero.")
        self._clock, self._memory_s, self._max_keys = clock, memory_s, max_keys
        self._keys: OrderedDict[str, _Key] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of keys that are kept."""
        return len(self._keys)

    def record(self, key: str, text: str, *, answer_tokens: int) -> None:
        """Record a request of a key that was answered."""
        now = self._clock()
        known = self._keys.setdefault(key, _Key(at_s=now))
        faded = exp(-(now - known.at_s) / self._memory_s)
        known.asked, known.tokens, known.at_s = known.asked * faded + 1, known.tokens * faded + answer_tokens, now
        known.n += 1
        known.whole.add(text)
        known.beginnings.add(text[:BEGINNING])
        self._keys.move_to_end(key)
        if len(self._keys) > self._max_keys:
            self._keys.popitem(last=False)

    def signals(self, key: str) -> Signals | None:
        """Return the signals of a key; None for a key that has sent nothing."""
        known = self._keys.get(key)
        if known is None:
            return None
        others = [k.tokens for name, k in self._keys.items() if name != key]
        volume = known.tokens / max(1.0, median(others)) if others else 1.0
        diversity, beginnings = (min(1.0, count.estimate / known.n) for count in (known.whole, known.beginnings))
        much = known.asked >= LEAST_ASKED and (volume >= 5 or not others)
        bad = much and diversity > 0.8 and beginnings > 0.6
        return Signals(asked=known.asked, volume=volume, diversity=diversity, beginnings=beginnings, is_suspicious=bad)

    def all_signals(self) -> dict[str, Signals]:
        """Return the signals of all keys, by key."""
        return {key: s for key in self._keys if (s := self.signals(key)) is not None}
