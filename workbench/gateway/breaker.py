"""When to stop asking a replica, when to try it again, and how often a failed request may be tried elsewhere."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from workbench.core.errors import InvalidSpec

Clock = Callable[[], float]


class BreakerState(StrEnum):
    """Whether requests pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """From when on a replica is left alone."""

    failed_fraction: float = 0.5
    """Of the calls in the window."""
    slow_fraction: float = 0.8
    """Of the calls that took longer than ``slow_s``."""
    slow_s: float = 30.0
    window_s: float = 30.0
    least_calls: int = 10
    """In the window, before anything is decided."""
    open_s: float = 10.0
    """Before it is tried again."""
    probes: int = 3
    """That must all succeed before it is closed again; no more are under way at once."""

    def __post_init__(self) -> None:
        shares = (self.failed_fraction, self.slow_fraction)
        if not all(0 < x <= 1 for x in shares) or min(self.window_s, self.open_s, self.slow_s) <= 0:
            raise InvalidSpec(f"{self} is no rule.", remedy="Give shares above 0 up to 1, and seconds above zero.")
        if self.least_calls < 1 or self.probes < 1:
            raise InvalidSpec(f"{self.least_calls} calls and {self.probes} probes.", remedy="Give one or more.")


class Breaker:
    """Lets calls through while a replica works; opens on failures or slowness, and closes after probes that succeed.

    Args:
        rule: From when on.
        clock: Seconds that never go back.
    """

    def __init__(self, rule: BreakerRule, *, clock: Clock) -> None:
        self.rule, self._clock = rule, clock
        self._calls: deque[tuple[float, bool, bool]] = deque()
        self._n_failed = self._n_slow = 0
        self._opened_at: float | None = None
        self._probing = self._passed = 0
        self._generation = 0

    @property
    def state(self) -> BreakerState:
        """Of now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        is_over = self._clock() - self._opened_at >= self.rule.open_s
        return BreakerState.HALF_OPEN if is_over else BreakerState.OPEN

    @property
    def retry_after_s(self) -> float:
        """Until the next probe may go."""
        return 0.0 if self._opened_at is None else max(0.0, self.rule.open_s - (self._clock() - self._opened_at))

    def begin(self) -> int | None:
        """A ticket for a call, or None when it must not go."""
        state = self.state
        if state is BreakerState.OPEN:
            return None
        if state is BreakerState.HALF_OPEN:
            if self._probing + self._passed >= self.rule.probes:
                return None
            self._probing += 1
        return self._generation

    def end(self, ticket: int, *, failed: bool, took_s: float) -> None:
        """How a call went; one that began before the breaker changed its mind counts no more."""
        if ticket != self._generation:
            return
        slow = took_s > self.rule.slow_s
        if self._opened_at is not None:
            self._probing -= 1
            if failed or slow:
                self._open()
            else:
                self._passed += 1
                if self._passed >= self.rule.probes:
                    self._close()
            return
        now = self._clock()
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
            self._open()

    def abandon(self, ticket: int) -> None:
        """A call whose client went away says nothing; a probe's place is free again."""
        if ticket == self._generation and self._opened_at is not None:
            self._probing -= 1

    def _open(self) -> None:
        self._opened_at = self._clock()
        self._forget()

    def _close(self) -> None:
        self._opened_at = None
        self._forget()

    def _forget(self) -> None:
        self._calls.clear()
        self._n_failed = self._n_slow = self._probing = self._passed = 0
        self._generation += 1


class RetryBudget:
    """Retries as a share of requests, so that they cannot multiply an overload.

    Args:
        share: Retries per request.
        least_per_s: Retries that are allowed when few requests come.
        clock: Seconds that never go back.
        most: Retries that can be saved up.
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
        """A first try."""
        self._refill()
        self._level = min(self._most, self._level + self._share)

    def retry(self) -> bool:
        """Whether a retry may go; it is counted when it may."""
        self._refill()
        if self._level < 1:
            return False
        self._level -= 1
        return True
