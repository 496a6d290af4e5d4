"""Concurrency limit, wait forecast and fair queue: which requests run, and which are refused at once."""

from collections import deque
from dataclasses import dataclass

from workbench.core.errors import InvalidSpec
from workbench.gateway.token_bucket import Clock, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """How the concurrency limit follows the latency of the server."""

    least: int = 1
    most: int = 1024
    first: int = 16
    target_ttft_s: float = 1.0
    """TTFT of a stream above which the server counts as overloaded."""
    target_answer_s: float = 60.0
    """Duration of an answer that is not streamed above which the server counts as overloaded."""
    growth: float = 1.0
    """Increase of the limit after as many answers in time as the limit."""
    cut: float = 0.8
    """Factor on the limit after a late or failed answer, at most once in ``settle_s``."""
    settle_s: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.first <= self.most or not 0 < self.cut < 1:
            raise InvalidSpec(f"{self} is no rule.", remedy="Give 1 <= least <= first <= most, and a cut below 1.")
        if not min(self.target_ttft_s, self.target_answer_s, self.growth, self.settle_s) > 0:
            raise InvalidSpec(f"{self} is no rule.", remedy="Give numbers above zero.")


class ConcurrencyLimit:
    """Concurrency limit that grows by one while TTFT is below the target and shrinks by a factor otherwise (Chiu and Jain 1989).

    The limit grows only while at least half of it is used: an idle server shows nothing about a higher limit.
    """

    def __init__(self, rule: LimitRule, *, clock: Clock) -> None:
        self.rule, self._clock = rule, clock
        self._limit = float(rule.first)
        self._cut_at = -rule.settle_s
        self.n_under_way = 0

    @property
    def limit(self) -> int:
        """Requests that may run at the same time now."""
        return int(self._limit)

    def begin(self) -> bool:
        """Return whether another request may begin; one that may is counted as running."""
        if self.n_under_way >= self.limit:
            return False
        self.n_under_way += 1
        return True

    def first_token(self, waited_s: float) -> None:
        """Adjust the limit to the TTFT of a stream, in seconds since it was forwarded."""
        self._adjust(is_late=waited_s > self.rule.target_ttft_s)

    def whole_answer(self, took_s: float) -> None:
        """Adjust the limit to the duration of an answer that is not streamed."""
        self._adjust(is_late=took_s > self.rule.target_answer_s)

    def _adjust(self, *, is_late: bool) -> None:
        if is_late:
            self.overloaded()
        elif 2 * self.n_under_way >= self.limit:
            self._limit = min(float(self.rule.most), self._limit + self.rule.growth / self._limit)

    def overloaded(self) -> None:
        """Cut the limit after an overload, at most once in ``settle_s``."""
        now = self._clock()
        if now - self._cut_at >= self.rule.settle_s:
            self._cut_at = now
            self._limit = max(float(self.rule.least), self._limit * self.rule.cut)

    def end(self) -> None:
        """Count a running request as ended, whatever became of it."""
        self.n_under_way -= 1


class WaitForecast:
    """Forecast of the waiting time of a new request, from the rate at which requests left the queue in a window."""

    def __init__(self, *, clock: Clock, window_s: float = 10.0) -> None:
        if window_s <= 0:
            raise InvalidSpec(f"A window of {window_s} s.", remedy="Give a number above zero.")
        self._clock, self._window_s = clock, window_s
        self._begun: deque[float] = deque()

    def record_start(self) -> None:
        """Record that a request left the queue."""
        self._begun.append(self._clock())
        self._trim()

    def _trim(self) -> None:
        oldest = self._clock() - self._window_s
        while self._begun and self._begun[0] < oldest:
            self._begun.popleft()

    @property
    def per_s(self) -> float | None:
        """Requests per second that leave the queue; None before two of them have."""
        self._trim()
        return len(self._begun) / max(self._clock() - self._begun[0], 1e-3) if len(self._begun) > 1 else None

    def wait_s(self, n_before: int) -> float:
        """Return the seconds until a request with ``n_before`` requests ahead of it begins; 0 while the rate is not known."""
        rate = self.per_s
        return 0.0 if rate is None else n_before / rate

    def judge(self, n_before: int, *, deadline_s: float) -> Refused | None:
        """Return a refusal for a request that would begin after its deadline, with the time to wait; None for any other."""
        late = self.wait_s(n_before) - deadline_s
        return Refused(retry_after_s=late) if late > 0 else None


class FairQueue:
    """Queue that shares capacity between tenants by weight; the requests of one tenant are served first in, first out.

    Start-time fair queuing (Goyal, Vin and Cheng 1996) over the costs of requests, so that tenants with long prompts get as many tokens as
    the others, not as many requests. When the queue is full, the newest request of the tenant with the largest waiting cost is dropped.
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
        """Return the number of waiting requests."""
        return self._n

    def put(self, tenant: str, item: object, *, cost: float) -> object | None:
        """Add a request; return the request that was dropped for it, which may be the same one, or None."""
        if not cost > 0:
            raise InvalidSpec(f"A cost of {cost}.", remedy="Give a number above zero.")
        weight = self._weights.get(tenant, 1.0)
        start = max(self._virtual, self._last_finish.get(tenant, 0.0))
        finish = start + cost / weight
        self._last_finish[tenant] = finish
        self._queues.setdefault(tenant, deque()).append((start, cost, item))
        self._n += 1
        return None if self._n <= self._max_waiting else self._drop()

    def _drop(self) -> object:
        most = max(self._queues, key=lambda t: sum(cost for _, cost, _ in self._queues[t]) / self._weights.get(t, 1.0))
        start, _, item = self._queues[most].pop()
        self._last_finish[most] = start
        self._gone(most)
        return item

    def n_before(self, tenant: str) -> int:
        """Return how many waiting requests would be served before a new request of this tenant."""
        start = max(self._virtual, self._last_finish.get(tenant, 0.0))
        return sum(entry[0] <= start for waiting in self._queues.values() for entry in waiting)

    def take(self) -> object | None:
        """Return the next request and remove it from the queue; None when the queue is empty."""
        if not self._n:
            return None
        tenant = min(self._queues, key=lambda t: self._queues[t][0][0])
        start, _, item = self._queues[tenant].popleft()
        self._virtual = max(self._virtual, start)
        self._gone(tenant)
        return item

    def remove(self, item: object) -> bool:
        """Remove a request whose client disconnected; return whether it was waiting."""
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
        if not self._n:  # empty queue: virtual time starts anew, and no tenant is remembered
            self._last_finish.clear()
            self._virtual = 0.0
