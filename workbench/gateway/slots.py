"""Slots of the concurrency limit: requests begin at once, wait in the fair queue, or are refused because they would begin too late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workbench.gateway.admission import ConcurrencyLimit, FairQueue, WaitForecast
from workbench.gateway.asgi import Denied
from workbench.gateway.config import GatewayConfig, Tenant
from workbench.gateway.token_bucket import Clock


class Slots:
    """Concurrency limit with the queue before it."""

    def __init__(self, config: GatewayConfig, *, clock: Clock) -> None:
        self._deadline_s = config.deadline_s
        self.limit = ConcurrencyLimit(config.concurrency, clock=clock)
        self._waiting = FairQueue(max_waiting=config.max_waiting, weights={t.name: t.weight for t in config.tenants})
        self._forecast = WaitForecast(clock=clock)

    @property
    def n_waiting(self) -> int:
        """Requests that wait in the queue."""
        return len(self._waiting)

    @property
    def wait_s(self) -> float:
        """Forecast of the wait of a new request."""
        return self._forecast.wait_s(len(self._waiting))

    @asynccontextmanager
    async def hold(self, tenant: Tenant, cost: float) -> AsyncIterator[None]:
        """Hold a slot, after waiting in the fair queue; raises ``Denied`` past the deadline."""
        if self._waiting or not self.limit.begin():
            await self._wait(tenant, cost)
        self._forecast.record_start()
        try:
            yield
        finally:
            self.limit.end()
            self.let_in()

    async def _wait(self, tenant: Tenant, cost: float) -> None:
        late = self._forecast.judge(self._waiting.n_before(tenant.name) + 1, deadline_s=self._deadline_s)
        if late is not None:
            raise Denied(
                503, "overloaded", "The request would begin after its deadline.", retry_after_s=late.retry_after_s
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        dropped = self._waiting.put(tenant.name, turn, cost=max(1.0, cost))
        if isinstance(dropped, asyncio.Future) and not dropped.done():
            dropped.set_exception(Denied(503, "overloaded", "The queue is full.", retry_after_s=max(1.0, self.wait_s)))
        self.let_in()
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._deadline_s)
        except TimeoutError as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                return  # the slot was granted at the same moment
            self._waiting.remove(turn)
            raise Denied(
                503, "overloaded", "The request waited until its deadline.", retry_after_s=self._deadline_s
            ) from error
        except asyncio.CancelledError:
            if not self._waiting.remove(turn) and turn.done() and turn.exception() is None:
                self.limit.end()
                self.let_in()
            raise

    def let_in(self) -> None:
        """Let waiting requests begin while the limit allows it."""
        while self._waiting and self.limit.begin():
            turn = self._waiting.take()
            if isinstance(turn, asyncio.Future) and not turn.done():
                turn.set_result(None)
            else:
                self.limit.end()
