"""What distinguishes a key that copies a model or tries keys of others: volume, and how varied its questions are.

Somebody who trains on answers asks much, and hardly ever the same twice; an application asks little, or the same beginnings again and again.
These are signals for people and not proofs: a test set looks like it too, and somebody who copies with many keys, slowly, looks like nobody. What
is kept of a question is a hash of it and of its beginning, in a sketch of fixed size.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp
from statistics import median

from workbench.core.errors import InvalidSpec

Clock = Callable[[], float]
SKETCH = 128
BEGINNING = 64  # characters
LEAST_ASKED = 200.0


class DistinctCount:
    """How many different texts were seen, from the smallest hashes (k minimum values, Bar-Yossef and others 2002); within about 9 %.

    Args:
        k: Hashes that are kept.
    """

    def __init__(self, k: int = SKETCH) -> None:
        if k < 2:
            raise InvalidSpec(f"k is {k}.", remedy="Give two or more.")
        self._k = k
        self._kept: set[float] = set()
        self._largest = 1.0

    def add(self, text: str) -> None:
        """A text."""
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
        """Different texts."""
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
    """Of one key."""

    asked: float
    """Requests, those of long ago counted less."""
    volume: float
    """Answer tokens, in times of the middle key's."""
    diversity: float
    """Different questions, of all of them; 1: never the same twice."""
    beginnings: float
    """Likewise of their beginnings: near 0 where an application puts its own text first."""
    is_suspicious: bool
    """Much is asked, by far more than by others, and nothing of it looks like an application's."""


class AbuseWatch:
    """Signals of every key, with bounded memory.

    Args:
        clock: Seconds that never go back.
        memory_s: After which a request counts a third.
        max_keys: Beyond, the key that asked longest ago is forgotten.
    """

    def __init__(self, *, clock: Clock, memory_s: float = 86_400.0, max_keys: int = 10_000) -> None:
        if memory_s <= 0 or max_keys < 1:
            raise InvalidSpec(f"{memory_s} s, {max_keys} keys.", remedy="Give numbers above zero.")
        self._clock, self._memory_s, self._max_keys = clock, memory_s, max_keys
        self._keys: OrderedDict[str, _Key] = OrderedDict()

    def __len__(self) -> int:
        """Keys that are kept."""
        return len(self._keys)

    def saw(self, key: str, text: str, *, answer_tokens: int) -> None:
        """A request that was answered."""
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
        """Of a key that asked; None for others."""
        known = self._keys.get(key)
        if known is None:
            return None
        others = [k.tokens for name, k in self._keys.items() if name != key]
        volume = known.tokens / max(1.0, median(others)) if others else 1.0
        diversity = min(1.0, known.whole.estimate / known.n)
        beginnings = min(1.0, known.beginnings.estimate / known.n)
        much = known.asked >= LEAST_ASKED and (volume >= 5 or not others)
        return Signals(
            asked=known.asked,
            volume=volume,
            diversity=diversity,
            beginnings=beginnings,
            is_suspicious=much and diversity > 0.8 and beginnings > 0.6,
        )

    def all_signals(self) -> dict[str, Signals]:
        """By key."""
        return {key: s for key in self._keys if (s := self.signals(key)) is not None}
