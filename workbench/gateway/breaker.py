"""Circuit breakers of replicas, and the budget for retries on other replicas."""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from workbench.core.errors import InvalidSpec
from workbench.gateway.token_bucket import Clock


class BreakerState(StrEnum):
    """Whether a circuit breaker lets requests pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """When a circuit breaker opens and closes."""

    failed_fraction: float = 0.5
    """Share of failed calls in the window that opens the breaker."""
    slow_fraction: float = 0.8
    """Share of calls slower than ``slow_s`` in the window that opens the breaker."""
    slow_s: float = 30.0
    window_s: float = 30.0
    least_calls: int = 10
    """Calls in the window before the breaker may open."""
    open_s: float = 10.0
    """Time before an open breaker lets a probe pass."""
    probes: int = 3
    """Calls that must all succeed before the breaker closes; no more of them run at the same time."""

    def __post_init__(self) -> None:
        shares = (self.failed_fraction, self.slow_fraction)
        if not all(0 < x <= 1 for x in shares) or min(self.window_s, self.open_s, self.slow_s) <= 0:
            raise InvalidSpec(
                f"{self} is not a valid rule.", remedy="Give shares above 0 and up to 1, and seconds above zero."
            )
        if self.least_calls < 1 or self.probes < 1:
            raise InvalidSpec(f"{self.least_calls} calls and {self.probes} probes.", remedy="Give one or more.")


class Breaker:
    """Circuit breaker of one replica: it opens on failed or slow calls, and closes after successful probes."""

    def __init__(self, rule: BreakerRule, *, clock: Clock) -> None:
        self.rule, self._clock = rule, clock
        self._calls: deque[tuple[float, bool, bool]] = deque()
        self._n_failed = self._n_slow = 0
        self._opened_at: float | None = None
        self._probing = self._passed = 0
        self._generation = 0

    @property
    def state(self) -> BreakerState:
        """State of the breaker now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        is_over = self._clock() - self._opened_at >= self.rule.open_s
        return BreakerState.HALF_OPEN if is_over else BreakerState.OPEN

    @property
    def retry_after_s(self) -> float:
        """Seconds until the next probe may pass."""
        return 0.0 if self._opened_at is None else max(0.0, self.rule.open_s - (self._clock() - self._opened_at))

    def begin(self) -> int | None:
        """Return a ticket for a call, or None when the call must not be made."""
        state = self.state
        if state is BreakerState.OPEN:
            return None
        if state is BreakerState.HALF_OPEN:
            if self._probing + self._passed >= self.rule.probes:
                return None
            self._probing += 1
        return self._generation

    def end(self, ticket: int, *, failed: bool, took_s: float) -> None:
        """Record how a call ended; a call that began before the breaker changed its state no longer counts."""
        if ticket != self._generation:
            return
        slow, now = took_s > self.rule.slow_s, self._clock()
        if self._opened_at is not None:
            self._probing -= 1
            self._passed += 1
            if failed or slow:
                self._change(now)
            elif self._passed >= self.rule.probes:
                self._change(None)
            return
        self._calls.append((now, failed, slow))
        self._n_failed += failed
        self._n_slow += slow
        while self._calls[0][0] < now - self.rule.window_s:
            _, was_failed, was_slow = self._calls.popleft()
            self._n_failed -= was_failed
            self._n_slow -= was_slow
        n = len(self._calls)
        if n >= self.rule.least_calls and (
            self._n_failed >= self.rule.failed_fraction * n or self._n_slow >= self.rule.slow_fraction * n
        ):
            self._change(now)

    def abandon(self, ticket: int) -> None:
        """Discard a call whose client disconnected; its place as a probe is free again."""
        if ticket == self._generation and self._opened_at is not None:
            self._probing -= 1

    def _change(self, opened_at: float | None) -> None:
        """Open the breaker at a time, or close it, and forget the calls that were counted."""
        self._opened_at = opened_at
        self._calls.clear()
        self._n_failed = self._n_slow = self._probing = self._passed = 0
        self._generation += 1


class RetryBudget:
    """Budget of retries as a share of the requests, so that retries cannot multiply an overload.

    ``least_per_s`` retries are allowed at low request rates, and at most ``most`` can be saved up.
    """

    def __init__(self, *, share: float = 0.1, least_per_s: float = 0.1, clock: Clock, most: float = 10.0) -> None:
        if not 0 <= share <= 1 or least_per_s < 0 or most < 1:
            raise InvalidSpec(
                f"A share of {share}, {least_per_s} a second, {most} at most.",
                remedy="Give a share up to 1, 0 or more a second, and 1 or more at most.",
            )
        self._share, self._least_per_s, self._clock, self._most = share, least_per_s, clock, most
        self._level, self._at = most, clock()

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._most, self._level + self._least_per_s * (now - self._at))
        self._at = now

    def request(self) -> None:
        """Record the first attempt of a request."""
        self._refill()
        self._level = min(self._most, self._level + self._share)

    def retry(self) -> bool:
        """Return whether a retry is allowed; an allowed one is counted."""
        self._refill()
        if self._level < 1:
            return False
        self._level -= 1
        return True
