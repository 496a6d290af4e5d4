"""Rate limits that several gateways share: token buckets in Redis, changed atomically by a script.

Time is that of the Redis server, so that gateways whose clocks differ agree. While Redis does not answer, each gateway uses a local bucket
(``LocalLimits``), so that an outage of Redis lets at most the number of gateways times the rate through, and refuses no request for it.
"""

import logging
import math
from typing import TYPE_CHECKING, Protocol

from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.gateway.token_bucket import Buckets, Clock, Rate, Refused, Reservation

if TYPE_CHECKING:
    from redis.asyncio import Redis

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
    """Rate limit with a token bucket for each key."""

    async def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Reserve an estimated cost; return a refusal with the time to wait where the bucket holds less."""

    async def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the estimated cost by the actual cost."""


class LocalLimits:
    """Rate limit of this process alone."""

    def __init__(self, rate: Rate, *, clock: Clock) -> None:
        self._buckets = Buckets(rate, clock=clock)

    async def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Reserve an estimated cost; return a refusal with the time to wait where the bucket holds less."""
        return self._buckets.reserve(key, cost)

    async def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the estimated cost by the actual cost."""
        self._buckets.settle(reservation, cost)


class SharedLimits:
    """Rate limit of all gateways with the same Redis and the same name.

    ``name`` is the prefix of the keys, and ``clock`` serves the local bucket while Redis does not answer.
    """

    def __init__(self, rate: Rate, *, redis: "Redis", name: str, clock: Clock) -> None:
        self.rate, self._redis, self._name = rate, redis, name
        self._script = redis.register_script(RESERVE)
        self._local = LocalLimits(rate, clock=clock)
        self._is_local = False
        self._local_reservations: set[int] = set()

    async def _run(self, key: str, cost: float, what: str) -> float | None:
        """Return the seconds to wait, below 0 when the cost was taken; None when Redis does not answer."""
        from redis.exceptions import RedisError

        try:
            reply = await self._script(
                keys=[f"{self._name}:{key}"], args=[self.rate.per_s, self.rate.burst, repr(float(cost)), what]
            )
        except (RedisError, OSError) as error:
            if not self._is_local:
                log.warning("Redis does not answer (%s): this gateway uses local limits.", type(error).__name__)
            self._is_local = True
            return None
        self._is_local = False
        return float(reply)

    async def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Reserve an estimated cost; return a refusal with the time to wait where the bucket holds less; raises ``InvalidSpec`` for a cost below zero."""
        if not cost >= 0:
            raise InvalidSpec(f"A cost of {cost}.", remedy="Give zero or more.")
        if cost > self.rate.burst:
            return Refused(retry_after_s=None)
        wait_s = await self._run(key, cost, "reserve")
        if wait_s is None:
            taken = await self._local.reserve(key, cost)
            if isinstance(taken, Reservation):
                self._local_reservations.add(id(taken))
            return taken
        return Reservation(key=key, cost=cost) if wait_s < 0 else Refused(retry_after_s=wait_s)

    async def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the estimated cost by the actual cost; a second call does nothing."""
        if id(reservation) in self._local_reservations:
            self._local_reservations.discard(id(reservation))
            await self._local.settle(reservation, cost)
        elif reservation.is_open and math.isfinite(cost):
            reservation.is_open = False
            await self._run(reservation.key, cost - reservation.cost, "settle")


def redis_client(url: str, *, timeout_s: float = 0.5) -> "Redis":
    """Return a client with a short timeout; raises ``NotAvailable`` without the package."""
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise NotAvailable(
            "Limits in Redis need the package redis.", remedy="pip install 'inference-workbench[redis]'"
        ) from error
    return Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0))
