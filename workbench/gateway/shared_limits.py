"""Rate limits that several gateways share: token buckets in Redis, changed atomically by a script.

Time is that of the Redis server, so that gateways whose clocks differ agree. While Redis does not answer, each gateway uses local buckets with its
part of the rate: the rate divided by the gateways that were seen last. Then no request waits for Redis, and one in the background asks for it.
"""

import asyncio
import logging
import math
import uuid
from contextlib import suppress
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
SEEN = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])
"""
GATEWAYS = "gateway:seen"
SEEN_EVERY_S = 5.0
SEEN_FOR_S = 20
RETRY_EVERY_S = 0.5
N_WARM = 4
"""Connections to Redis that are opened before the first request, for each of two scripts."""
QUICK_S = 0.05
"""Time after which all but one request stop to wait for Redis."""


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


class RedisLink:
    """Link of one gateway to Redis: whether it answers, and how many gateways there are.

    At most one request at a time waits for a slow answer. The others use local limits at once, and all do after it was in vain, until Redis answers
    a ping in the background.
    """

    def __init__(self, redis: "Redis", *, timeout_s: float = 0.5, quick_s: float = QUICK_S) -> None:
        self._redis, self._timeout_s, self._quick_s = redis, timeout_s, quick_s
        self._reserve, self._seen = redis.register_script(RESERVE), redis.register_script(SEEN)
        self._id = uuid.uuid4().hex
        self.is_up = True
        """Whether Redis answered when it was asked last."""
        self.n_gateways = 1
        """Gateways that were seen last, this one included."""
        self._is_slow = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether limits are shared now: Redis answers, and no request waits for it for long."""
        return self.is_up and not self._is_slow

    def open(self) -> None:
        """Begin to make this gateway known to the others."""
        self._task = asyncio.create_task(self._keep())

    async def warm(self) -> None:
        """Open connections and load the scripts, so that the first requests need not wait for it; in vain where Redis does not answer."""
        from redis.exceptions import RedisError

        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await asyncio.gather(*(self._redis.script_load(script) for script in (RESERVE, SEEN) * N_WARM))

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._task is not None:
            self._task.cancel()
        await self._redis.aclose()

    async def run(self, key: str, rate: Rate, cost: float, what: str) -> float | None:
        """Return the seconds to wait, below 0 when the cost was taken; None when Redis does not answer."""
        if not self.is_shared:
            return None
        args = [rate.per_s, rate.burst, repr(float(cost)), what]
        asking = asyncio.ensure_future(self._reserve(keys=[key], args=args))
        try:
            done, _ = await asyncio.wait({asking}, timeout=self._quick_s)
            if not done and not self._is_slow:
                self._is_slow = True
                try:
                    done, _ = await asyncio.wait({asking}, timeout=self._timeout_s)
                finally:
                    self._is_slow = False
                if not done:
                    self._lost("TimeoutError")
        finally:
            if not asking.done():
                asking.cancel()
        return self._answer(asking) if done else None

    def _answer(self, asking: "asyncio.Future[bytes]") -> float | None:
        from redis.exceptions import RedisError

        try:
            return float(asking.result())
        except (RedisError, OSError) as error:
            self._lost(type(error).__name__)
            return None

    def _lost(self, cause: str) -> None:
        if self.is_up:
            log.warning(
                "Redis does not answer (%s): this gateway uses local limits, 1/%d of each.", cause, self.n_gateways
            )
        self.is_up = False
        if self._task is None or self._task.done():
            self.open()

    async def _keep(self) -> None:
        """Count the gateways again and again, and notice that Redis answers again."""
        from redis.exceptions import RedisError

        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    n = await self._seen(keys=[GATEWAYS], args=[self._id, SEEN_FOR_S])
                self.n_gateways, self.is_up = max(1, int(n)), True
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(type(error).__name__)
            await asyncio.sleep(SEEN_EVERY_S if self.is_up else RETRY_EVERY_S)


class SharedLimits:
    """Rate limit of all gateways with the same Redis and the same name.

    ``name`` is the prefix of the keys, and ``clock`` serves the local buckets while Redis does not answer.
    """

    def __init__(self, rate: Rate, *, link: RedisLink, name: str, clock: Clock) -> None:
        self.rate, self._link, self._name, self._clock = rate, link, name, clock
        self._local: LocalLimits | None = None
        self._local_rate = rate
        self._local_reservations: dict[int, LocalLimits] = {}

    def _part(self) -> LocalLimits:
        """Return the local limits of this gateway: its part of the rate."""
        n = self._link.n_gateways
        part = Rate(per_s=self.rate.per_s / n, burst=self.rate.burst / n)
        if self._local is None or part != self._local_rate:
            self._local, self._local_rate = LocalLimits(part, clock=self._clock), part
        return self._local

    async def reserve(self, key: str, cost: float) -> Reservation | Refused:
        """Reserve an estimated cost; return a refusal with the time to wait where the bucket holds less; raises ``InvalidSpec`` for a cost below zero."""
        if not cost >= 0:
            raise InvalidSpec(f"A cost of {cost}.", remedy="Give zero or more.")
        if cost > self.rate.burst:
            return Refused(retry_after_s=None)
        wait_s = await self._link.run(f"{self._name}:{key}", self.rate, cost, "reserve")
        if wait_s is None:
            local = self._part()
            # A request larger than the part of this gateway begins when the bucket is full, and settles below zero.
            taken = await local.reserve(key, min(cost, self._local_rate.burst))
            if isinstance(taken, Reservation):
                self._local_reservations[id(taken)] = local
            return taken
        return Reservation(key=key, cost=cost) if wait_s < 0 else Refused(retry_after_s=wait_s)

    async def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the estimated cost by the actual cost; a second call does nothing."""
        if (local := self._local_reservations.pop(id(reservation), None)) is not None:
            await local.settle(reservation, cost)
        elif reservation.is_open and math.isfinite(cost):
            reservation.is_open = False
            await self._link.run(f"{self._name}:{reservation.key}", self.rate, cost - reservation.cost, "settle")


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
