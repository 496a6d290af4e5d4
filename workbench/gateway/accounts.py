"""Request and token limits of tenants: reserved before a request and settled after it."""

from collections.abc import Awaitable, Callable

from workbench.gateway.asgi import Denied
from workbench.gateway.config import Tenant
from workbench.gateway.shared_limits import Limits, LocalLimits, SharedLimits, redis_client
from workbench.gateway.token_bucket import Clock, Rate, Refused

Settle = Callable[[float], Awaitable[None]]


class Accounts:
    """Two limits for each tenant, kept for several gateways at the URL ``redis``; None: in this process."""

    def __init__(self, redis: str | None, *, clock: Clock) -> None:
        self._redis = redis_client(redis) if redis else None
        self._clock = clock
        self._limits: dict[str, tuple[Limits, Limits]] = {}

    async def close(self) -> None:
        """Close the connection to Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    def _limits_for(self, rate: Rate, name: str) -> Limits:
        if self._redis is None:
            return LocalLimits(rate, clock=self._clock)
        return SharedLimits(rate, redis=self._redis, name=f"gateway:{name}", clock=self._clock)

    async def reserve(self, tenant: Tenant, payer: str, n_tokens: float) -> Settle:
        """Reserve one request and the tokens that it costs at most; return the function that settles the tokens.

        Raises ``Denied`` where a limit is exceeded; nothing is reserved then.

        The bucket belongs to ``payer``, which is the tenant, or an address without a key; the rates are the tenant's.
        """
        if tenant.name not in self._limits:
            self._limits[tenant.name] = (
                self._limits_for(tenant.request_rate, f"requests:{tenant.name}"),
                self._limits_for(tenant.token_rate, f"tokens:{tenant.name}"),
            )
        requests, tokens = self._limits[tenant.name]
        one = await requests.reserve(payer, 1.0)
        if isinstance(one, Refused):
            raise Denied(
                429, "requests_per_second", "The request rate limit is exceeded.", retry_after_s=one.retry_after_s
            )
        taken = await tokens.reserve(payer, n_tokens)
        if isinstance(taken, Refused):
            await requests.settle(one, 0.0)
            if taken.retry_after_s is None:
                raise Denied(400, "too_many_tokens", f"{n_tokens:.0f} tokens exceed the burst limit of this tenant.")
            raise Denied(
                429, "tokens_per_second", "The token rate limit is exceeded.", retry_after_s=taken.retry_after_s
            )
        return lambda used: tokens.settle(taken, used)
