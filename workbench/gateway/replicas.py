"""One server behind the gateway as it is known: its load, its breaker, its health, and the calls to it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from workbench.gateway.breaker import Breaker
from workbench.gateway.routing import Replica
from workbench.gateway.token_bucket import Clock

FAILURES_BEFORE_UNHEALTHY = 2
LEAST_PATIENCE_S = 1.0
PATIENCE_FACTOR = 3.0
"""A client that leaves after this multiple of the usual time to the first byte, and not before the least patience, has met a failure."""
WEIGHT = 0.1


@dataclass(slots=True, kw_only=True)
class Known:
    """A replica and what is known of it."""

    replica: Replica
    breaker: Breaker
    version: str | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers of every request to it, its key among them."""
    health_path: str = "/health"
    n_unhealthy: int = 0
    """Health checks in succession that failed."""
    usual_s: dict[bool, float] = field(default_factory=dict)
    """Running mean of the time to the first byte, of streams and of whole answers."""

    @property
    def is_healthy(self) -> bool:
        """Whether not all of the latest health checks failed."""
        return self.n_unhealthy < FAILURES_BEFORE_UNHEALTHY


class Call:
    """One call to a replica: counted while it runs, and reported to its circuit breaker once."""

    def __init__(self, known: Known, ticket: int, *, clock: Clock, is_stream: bool) -> None:
        self._known, self._ticket, self._clock, self._is_stream = known, ticket, clock, is_stream
        self._began_s, self._is_reported, self._has_begun = clock(), False, False
        known.replica.n_under_way += 1

    def begins(self) -> None:
        """Note that the first byte has arrived."""
        self._has_begun = True
        took_s, usual = self._clock() - self._began_s, self._known.usual_s
        known = usual.setdefault(self._is_stream, took_s)
        usual[self._is_stream] = known + WEIGHT * (took_s - known)

    def report(self, *, failed: bool) -> None:
        """Report to the circuit breaker how the call went."""
        if not self._is_reported:
            self._is_reported = True
            took_s = self._clock() - self._began_s
            self._known.breaker.end(self._ticket, failed=failed, took_s=took_s)

    def abandoned(self) -> None:
        """Note that the client left; a call counts as failed where nothing had arrived for much longer than usual."""
        usual_s = self._known.usual_s.get(self._is_stream, 0.0)
        if not self._has_begun and self._clock() - self._began_s >= max(LEAST_PATIENCE_S, PATIENCE_FACTOR * usual_s):
            self.report(failed=True)

    def end(self) -> None:
        """End the call; one that was not reported was abandoned by its client."""
        self._known.replica.n_under_way -= 1
        self.abandoned()
        if not self._is_reported:
            self._known.breaker.abandon(self._ticket)


class HealthCheck:
    """Asks every replica for its health again and again. Any answer below 500 is one: servers differ in the paths that they have."""

    def __init__(self, known: Sequence[Known], *, every_s: float, timeout_s: float) -> None:
        self._known, self._every_s, self._timeout_s = known, every_s, timeout_s
        self._tasks: list[asyncio.Task[None]] = []

    def open(self, session: aiohttp.ClientSession) -> None:
        """Begin to check; not at all where the time between two checks is zero."""
        if self._every_s:
            self._tasks = [asyncio.create_task(self._keep(k, session)) for k in self._known]

    def close(self) -> None:
        """End the checks of all replicas."""
        for task in self._tasks:
            task.cancel()

    async def _keep(self, known: Known, session: aiohttp.ClientSession) -> None:
        limit = aiohttp.ClientTimeout(total=self._timeout_s)
        while True:
            try:
                url = known.replica.url + known.health_path
                async with session.get(url, headers=known.headers, timeout=limit) as response:
                    is_well = response.status < 500
            except (aiohttp.ClientError, TimeoutError, OSError):
                is_well = False
            known.n_unhealthy = 0 if is_well else known.n_unhealthy + 1
            await asyncio.sleep(self._every_s)
