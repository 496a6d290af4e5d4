"""Token buckets for requests and tokens: reserved before the work, settled after it.

The cost of an answer is known only at its end. A request reserves an estimate and settles the actual cost. In every span of ``W`` seconds at most
``burst + rate x W`` tokens are settled, up to the estimation errors of the requests that run at its ends.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import log2

from workbench.core.errors import InvalidSpec

Clock = Callable[[], float]
"""Monotonic clock, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Rate limit: an average per second, and a burst."""

    per_s: float
    burst: float

    def __post_init__(self) -> None:
        if not (self.per_s > 0 and self.burst > 0):
            raise InvalidSpec(
                f"A rate of {self.per_s} a second and {self.burst} at once.", remedy="Give numbers above zero."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A refusal, with the time after which to retry."""

    retry_after_s: float | None
    """Time until it would be accepted without other requests; None: never, because it exceeds the burst."""


@dataclass(slots=True, kw_only=True)
class Reservation:
    """Cost that was taken from a bucket for one request."""

    key: str
    cost: float
    is_open: bool = True


class Buckets:
    """Token bucket for each key; a full bucket takes no memory.

    Beyond ``max_keys`` the least recently used bucket is forgotten, and its key starts again with a full burst.
    """

    def __init__(self, rate: Rate, *, clock: Clock, max_keys: int = 100_000) -> None:
        if max_keys < 1:
            raise InvalidSpec(f"max_keys is {max_keys}.", remedy="Give one or more.")
        self.rate, self._clock, self._max_keys = rate, clock, max_keys
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of buckets that are kept."""
        return len(self._levels)

    def level(self, key: str) -> float:
        """Return the level of the bucket of this key; below zero after a request that cost more than it had reserved."""
        return self._now(key, self._clock())

    def _now(self, key: str, now: float) -> float:
        known = self._levels.get(key)
        if known is None:
            return self.rate.burst
        level, at = known
        return min(self.rate.burst, level + self.rate.per_s * (now - at))

    def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Reserve an estimated cost; return a refusal with the time to wait where the bucket holds less; raises ``InvalidSpec`` for a cost below zero."""
        if not cost >= 0:
            raise InvalidSpec(f"A cost of {cost}.", remedy="Give zero or more.")
        now = self._clock()
        if cost > self.rate.burst:
            return Refused(retry_after_s=None)
        level = self._now(key, now)
        if level < cost:
            return Refused(retry_after_s=(cost - level) / self.rate.per_s)
        self._set(key, level - cost, now)
        return Reservation(key=key, cost=cost)

    def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the estimated cost by the actual cost; 0 returns all of it. A second call does nothing."""
        if not cost >= 0:
            raise InvalidSpec(f"A cost of {cost}.", remedy="Give zero or more.")
        if not reservation.is_open:
            return
        reservation.is_open = False
        now = self._clock()
        # A key that was forgotten meanwhile has a full burst, from which the cost is taken.
        self._set(reservation.key, self._now(reservation.key, now) + reservation.cost - cost, now)

    def _set(self, key: str, level: float, now: float) -> None:
        if level >= self.rate.burst:
            self._levels.pop(key, None)
            return
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        # The first ones are the least recently used; full ones need not be kept.
        for _ in range(2):
            oldest = next(iter(self._levels))
            if oldest != key and self._now(oldest, now) >= self.rate.burst:
                del self._levels[oldest]
        if len(self._levels) > self._max_keys:
            self._levels.popitem(last=False)


class Penalties:
    """Penalty points that decay: a key is refused while its points exceed a limit, and its points halve every half-life.

    Beyond ``max_keys`` the key with the oldest offence is forgotten.
    """

    def __init__(self, *, limit: float, half_life_s: float, clock: Clock, max_keys: int = 100_000) -> None:
        if not (limit > 0 and half_life_s > 0) or max_keys < 1:
            raise InvalidSpec(
                f"A limit of {limit}, a half-life of {half_life_s} s, {max_keys} keys.",
                remedy="Give numbers above zero.",
            )
        self._limit, self._half_life_s, self._clock, self._max_keys = limit, half_life_s, clock, max_keys
        self._points: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of keys that are kept."""
        return len(self._points)

    def points(self, key: str) -> float:
        """Return the penalty points of a key now."""
        points, at = self._points.get(key, (0.0, 0.0))
        return float(points * 0.5 ** ((self._clock() - at) / self._half_life_s)) if points else 0.0

    def offend(self, key: str, points: float = 1.0) -> None:
        """Add penalty points to a key."""
        self._points[key] = (self.points(key) + points, self._clock())
        self._points.move_to_end(key)
        oldest = next(iter(self._points))
        if oldest != key and self.points(oldest) < 0.01 * self._limit:
            del self._points[oldest]
        if len(self._points) > self._max_keys:
            self._points.popitem(last=False)

    def refusal(self, key: str) -> Refused | None:
        """Return the refusal of a key, or None; a refused request adds no points, so that a client recovers by waiting."""
        points = self.points(key)
        if points <= self._limit:
            return None
        return Refused(retry_after_s=self._half_life_s * log2(points / self._limit))
