"""How many requests are under way, and which ones are not worth beginning."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from workbench.core.errors import InvalidSpec
from workbench.gateway.token_bucket import Refused

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """How the number of requests under way follows what the server does with them."""

    least: int = 1
    most: int = 1024
    first: int = 16
    target_ttft_s: float = 1.0
    """First tokens that come later say that the server has too much."""
    growth: float = 1.0
    """Added to the limit for every limit's worth of good answers."""
    cut: float = 0.8
    """Factor on the limit after a bad answer; not more often than once in ``settle_s``."""
    settle_s: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.first <= self.most or not 0 < self.cut < 1:
            raise InvalidSpec(f"{self} is no rule.", remedy="Give 1 <= least <= first <= most, and a cut below 1.")
        if min(self.target_ttft_s, self.growth, self.settle_s) <= 0:
            raise InvalidSpec(f"{self} is no rule.", remedy="Give numbers above zero.")


class ConcurrencyLimit:
    """Grows by one while first tokens come in time, and shrinks by a factor when they do not (Chiu and Jain 1989).

    The limit grows only while it is used: an idle server says nothing about a higher one.

    Args:
        rule: How.
        clock: Seconds that never go back.
    """

    def __init__(self, rule: LimitRule, *, clock: Clock) -> None:
        self.rule, self._clock = rule, clock
        self._limit = float(rule.first)
        self._cut_at = -rule.settle_s
        self.n_under_way = 0

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    def begin(self) -> bool:
        """Whether another request may begin; it is counted when it may."""
        if self.n_under_way >= self.limit:
            return False
        self.n_under_way += 1
        return True

    def first_token(self, waited_s: float) -> None:
        """A first token came so long after its request was sent on."""
        if waited_s > self.rule.target_ttft_s:
            self.overloaded()
        elif 2 * self.n_under_way >= self.limit:
            self._limit = min(float(self.rule.most), self._limit + self.rule.growth / self._limit)

    def overloaded(self) -> None:
        """The server said so, or was late; answers to one overload cut the limit once."""
        now = self._clock()
        if now - self._cut_at >= self.rule.settle_s:
            self._cut_at = now
            self._limit = max(float(self.rule.least), self._limit * self.rule.cut)

    def end(self) -> None:
        """A request is over, however."""
        self.n_under_way -= 1


class WaitForecast:
    """How long a request that comes now would wait, from how fast the ones before it began.

    Args:
        clock: Seconds that never go back.
        window_s: In which beginnings are counted.
    """

    def __init__(self, *, clock: Clock, window_s: float = 10.0) -> None:
        if window_s <= 0:
            raise InvalidSpec(f"A window of {window_s} s.", remedy="Give a number above zero.")
        self._clock, self._window_s = clock, window_s
        self._begun: deque[float] = deque()

    def begun(self) -> None:
        """A request left the queue."""
        self._begun.append(self._clock())
        self._trim()

    def _trim(self) -> None:
        oldest = self._clock() - self._window_s
        while self._begun and self._begun[0] < oldest:
            self._begun.popleft()

    @property
    def per_s(self) -> float | None:
        """Requests that leave the queue in a second; None before two have."""
        self._trim()
        if len(self._begun) < 2:
            return None
        span = max(self._clock() - self._begun[0], 1e-3)
        return len(self._begun) / span

    def wait_s(self, n_before: int) -> float:
        """Seconds until a request with so many before it begins; 0 while nothing is known."""
        rate = self.per_s
        return 0.0 if rate is None else n_before / rate

    def judge(self, n_before: int, *, deadline_s: float) -> Refused | None:
        """Refuse a request that would begin too late, with the time after which it would not."""
        late = self.wait_s(n_before) - deadline_s
        return Refused(retry_after_s=late) if late > 0 else None


class FairQueue:
    """Who is next: tenants take turns in proportion to their weights, each with its own first in, first out.

    Start-time fair queuing (Goyal, Vin and Cheng 1996) over the costs of requests, so that a tenant with long prompts has as many tokens and
    not as many requests as the others. When the queue is full, the newest request of the tenant with the most waiting cost is dropped.

    Args:
        max_waiting: Requests.
        weights: By tenant; 1 for those that are not named.
    """

    def __init__(self, *, max_waiting: int, weights: dict[str, float] | None = None) -> None:
        if max_waiting < 1 or any(w <= 0 for w in (weights or {}).values()):
            raise InvalidSpec(f"{max_waiting} waiting, weights {weights}.", remedy="Give numbers above zero.")
        self._max_waiting, self._weights = max_waiting, dict(weights or {})
        self._queues: dict[str, deque[tuple[float, float, object]]] = {}
        self._last_finish: dict[str, float] = {}
        self._virtual = 0.0
        self._n = 0

    def __len__(self) -> int:
        """Requests that wait."""
        return self._n

    def put(self, tenant: str, item: object, *, cost: float) -> object | None:
        """Add a request; gives back the one that was dropped for it, which may be itself."""
        if not cost > 0:
            raise InvalidSpec(f"A cost of {cost}.", remedy="Give a number above zero.")
        weight = self._weights.get(tenant, 1.0)
        start = max(self._virtual, self._last_finish.get(tenant, 0.0))
        finish = start + cost / weight
        self._last_finish[tenant] = finish
        self._queues.setdefault(tenant, deque()).append((start, cost, item))
        self._n += 1
        if self._n <= self._max_waiting:
            return None
        return self._drop()

    def _drop(self) -> object:
        most = max(self._queues, key=lambda t: sum(cost for _, cost, _ in self._queues[t]) / self._weights.get(t, 1.0))
        start, _, item = self._queues[most].pop()
        self._last_finish[most] = start
        self._gone(most)
        return item

    def n_before(self, tenant: str) -> int:
        """How many of those that wait would be served before a request of this tenant that came now."""
        start = max(self._virtual, self._last_finish.get(tenant, 0.0))
        return sum(entry[0] <= start for waiting in self._queues.values() for entry in waiting)

    def take(self) -> object | None:
        """The next request; None when nobody waits."""
        if not self._n:
            return None
        tenant = min(self._queues, key=lambda t: self._queues[t][0][0])
        start, _, item = self._queues[tenant].popleft()
        self._virtual = max(self._virtual, start)
        self._gone(tenant)
        return item

    def remove(self, item: object) -> bool:
        """Take a request out whose client went away; whether it was there."""
        for tenant, waiting in self._queues.items():
            for entry in waiting:
                if entry[2] is item:
                    waiting.remove(entry)
                    self._gone(tenant)
                    return True
        return False

    def _gone(self, tenant: str) -> None:
        self._n -= 1
        if not self._queues[tenant]:
            del self._queues[tenant]
        if not self._n:  # nobody waits: time of fair queuing starts anew, and no tenant is remembered
            self._last_finish.clear()
            self._virtual = 0.0
