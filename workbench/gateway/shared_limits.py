"""Limits that several gateways share: the same bucket, kept in Redis, where a script takes and gives back in one step.

Time is that of the Redis server, so that gateways whose clocks differ agree. When Redis does not answer, a gateway goes on with a bucket of its
own (``LocalLimits``), so that an outage of Redis lets at most the number of gateways times the rate through, and refuses nobody.
"""

import logging
import math
from typing import Any, Protocol

from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.gateway.token_bucket import Buckets, Clock, Rate, Refused, Reservation

log = logging.getLogger(__name__)
RESERVE = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1e6
local rate, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = burst
if kept[1] then level = math.min(burst, tonumber(kept[1]) + rate * math.max(0, now - tonumber(kept[2]))) end
if ARGV[4] == 'reserve' and level < cost then return tostring((cost - level) / rate) end
level = level - cost
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level), 'at', string.format('%.17g', now))
redis.call('EXPIRE', KEYS[1], math.max(1, math.ceil((burst - level) / rate) + 1))
return '-1'
"""


class Limits(Protocol):
    """A bucket for each key."""

    async def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Take an estimated cost, or say when it could be taken."""

    async def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the estimate by what it really cost."""


class LocalLimits:
    """Of this process alone."""

    def __init__(self, rate: Rate, *, clock: Clock) -> None:
        self._buckets = Buckets(rate, clock=clock)

    async def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Take an estimated cost, or say when it could be taken."""
        return self._buckets.reserve(key, cost)

    async def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the estimate by what it really cost."""
        self._buckets.settle(reservation, cost)


class SharedLimits:
    """Of all gateways with the same Redis and the same name.

    Args:
        rate: Of every key.
        redis: Client of ``redis.asyncio``.
        name: Stands before the keys.
        clock: For the bucket of its own while Redis does not answer.
    """

    def __init__(self, rate: Rate, *, redis: Any, name: str, clock: Clock) -> None:
        self.rate, self._redis, self._name = rate, redis, name
        self._script = redis.register_script(RESERVE)
        self._own = LocalLimits(rate, clock=clock)
        self._is_alone = False
        self._own_ones: set[int] = set()

    async def _run(self, key: str, cost: float, what: str) -> float | None:
        """Seconds to wait, below 0 when it was taken; None when Redis does not answer."""
        from redis.exceptions import RedisError

        try:
            told = await self._script(
                keys=[f"{self._name}:{key}"], args=[self.rate.per_s, self.rate.burst, repr(float(cost)), what]
            )
        except (RedisError, OSError) as error:
            if not self._is_alone:
                log.warning("Redis does not answer (%s): limits are this gateway's own.", type(error).__name__)
            self._is_alone = True
            return None
        self._is_alone = False
        return float(told)

    async def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Take an estimated cost, or say when it could be taken; raises ``InvalidSpec`` for a cost below zero."""
        if not cost >= 0:
            raise InvalidSpec(f"A cost of {cost}.", remedy="Give zero or more.")
        if cost > self.rate.burst:
            return Refused(retry_after_s=None)
        wait_s = await self._run(key, cost, "reserve")
        if wait_s is None:
            taken = await self._own.reserve(key, cost)
            if isinstance(taken, Reservation):
                self._own_ones.add(id(taken))
            return taken
        return Reservation(key=key, cost=cost) if wait_s < 0 else Refused(retry_after_s=wait_s)

    async def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the estimate by what it really cost; a second call does nothing."""
        if id(reservation) in self._own_ones:
            self._own_ones.discard(id(reservation))
            await self._own.settle(reservation, cost)
        elif reservation.is_open and math.isfinite(cost):
            reservation.is_open = False
            await self._run(reservation.key, cost - reservation.cost, "settle")


def redis_client(url: str) -> Any:
    """A client that gives up after a moment; raises ``NotAvailable`` without the package."""
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise NotAvailable(
            "Limits in Redis need the package redis.", remedy="pip install 'inference-workbench[redis]'"
        ) from error
    return Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0))
