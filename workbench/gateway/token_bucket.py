"""Limits on requests and tokens: a bucket that is paid from before the work, and settled after it.

What an answer costs is known only when it has ended. A request reserves an estimate, and settles what it really took. In every span of
``W`` seconds at most ``burst + rate x W`` tokens are settled, and the error of the estimates of what is under way at its ends.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import log2

from workbench.core.errors import InvalidSpec

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What may be spent: so much a second on average, and so much at once."""

    per_s: float
    burst: float

    def __post_init__(self) -> None:
        if not (self.per_s > 0 and self.burst > 0):
            raise InvalidSpec(
                f"A rate of {self.per_s} a second and {self.burst} at once.", remedy="Give numbers above zero."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Not now."""

    retry_after_s: float | None
    """When it would be taken, if nothing else came; None: never, it is larger than what may be spent at once."""


@dataclass(slots=True, kw_only=True)
class Reservation:
    """What was taken from a bucket for one request."""

    key: str
    cost: float
    is_open: bool = True


class Buckets:
    """A bucket for each key; a key that has not spent for a while takes no memory.

    Args:
        rate: Of every key.
        clock: Seconds that never go back.
        max_keys: Buckets that are kept. Beyond, the one that was used longest ago is forgotten, and its key starts anew with a whole burst.
    """

    def __init__(self, rate: Rate, *, clock: Clock, max_keys: int = 100_000) -> None:
        if max_keys < 1:
            raise InvalidSpec(f"max_keys is {max_keys}.", remedy="Give one or more.")
        self.rate, self._clock, self._max_keys = rate, clock, max_keys
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Buckets that are kept."""
        return len(self._levels)

    def level(self, key: str) -> float:
        """What a key could spend now; below zero after a request that took more than it had reserved."""
        return self._now(key, self._clock())

    def _now(self, key: str, now: float) -> float:
        known = self._levels.get(key)
        if known is None:
            return self.rate.burst
        level, at = known
        return min(self.rate.burst, level + self.rate.per_s * (now - at))

    def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Take an estimated cost, or say when it could be taken; raises ``InvalidSpec`` for a cost below zero."""
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
        """Replace the estimate by what it really cost; 0 gives all of it back. A second call does nothing."""
        if not cost >= 0:
            raise InvalidSpec(f"A cost of {cost}.", remedy="Give zero or more.")
        if not reservation.is_open:
            return
        reservation.is_open = False
        now = self._clock()
        # A key that was forgotten meanwhile has a whole burst: what it owes is taken from that.
        self._set(reservation.key, self._now(reservation.key, now) + reservation.cost - cost, now)

    def _set(self, key: str, level: float, now: float) -> None:
        if level >= self.rate.burst:
            self._levels.pop(key, None)
            return
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        # Those at the front were used longest ago: full ones are as good as unknown.
        for _ in range(2):
            oldest = next(iter(self._levels))
            if oldest != key and self._now(oldest, now) >= self.rate.burst:
                del self._levels[oldest]
        if len(self._levels) > self._max_keys:
            self._levels.popitem(last=False)


class Penalties:
    """Offences that are forgotten: a key is refused while its points are above a limit, and its points halve again and again.

    Args:
        limit: Points from which on a key is refused.
        half_life_s: In which points halve.
        clock: Seconds that never go back.
        max_keys: Keys that are kept; beyond, the one that offended longest ago is forgotten.
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
        """Keys that are kept."""
        return len(self._points)

    def points(self, key: str) -> float:
        """Points of a key now."""
        points, at = self._points.get(key, (0.0, 0.0))
        return float(points * 0.5 ** ((self._clock() - at) / self._half_life_s)) if points else 0.0

    def offend(self, key: str, points: float = 1.0) -> None:
        """Add an offence."""
        self._points[key] = (self.points(key) + points, self._clock())
        self._points.move_to_end(key)
        oldest = next(iter(self._points))
        if oldest != key and self.points(oldest) < 0.01 * self._limit:
            del self._points[oldest]
        if len(self._points) > self._max_keys:
            self._points.popitem(last=False)

    def refused(self, key: str) -> Refused | None:
        """Why a key is refused, or None; a refused request is no offence, so that a client recovers by waiting."""
        points = self.points(key)
        if points <= self._limit:
            return None
        return Refused(retry_after_s=self._half_life_s * log2(points / self._limit))
