"""What tenants may spend: requests and tokens a second, taken before a request and settled after it."""

from collections.abc import Callable, Coroutine
from typing import Any

from workbench.gateway.asgi import Denied
from workbench.gateway.config import Tenant
from workbench.gateway.shared_limits import Limits, LocalLimits, SharedLimits, redis_client
from workbench.gateway.token_bucket import Clock, Rate, Refused

Settle = Callable[[float], Coroutine[Any, Any, None]]


class Accounts:
    """Two limits for each tenant.

    Args:
        redis: URL of the server that keeps them for several gateways; None: in this process.
        clock: Seconds that never go back.
    """

    def __init__(self, redis: str | None, *, clock: Clock) -> None:
        self._redis = redis_client(redis) if redis else None
        self._clock = clock
        self._limits: dict[str, tuple[Limits, Limits]] = {}

    async def close(self) -> None:
        """Hang up."""
        if self._redis is not None:
            await self._redis.aclose()

    def _made(self, rate: Rate, name: str) -> Limits:
        if self._redis is None:
            return LocalLimits(rate, clock=self._clock)
        return SharedLimits(rate, redis=self._redis, name=f"gateway:{name}", clock=self._clock)

    async def reserve(self, tenant: Tenant, payer: str, n_tokens: float) -> Settle:
        """Take a request and the tokens that it costs at most; gives what settles the tokens.

        Raises ``Denied`` when it cannot be paid; nothing is taken then.

        Args:
            tenant: Whose rates hold.
            payer: Whose bucket it is: the tenant's, or an address's where nobody has a key.
            n_tokens: Of the prompt, and of the longest answer.
        """
        if tenant.name not in self._limits:
            self._limits[tenant.name] = (
                self._made(tenant.request_rate, f"requests:{tenant.name}"),
                self._made(tenant.token_rate, f"tokens:{tenant.name}"),
            )
        requests, tokens = self._limits[tenant.name]
        one = await requests.reserve(payer, 1.0)
        if isinstance(one, Refused):
            raise Denied(429, "requests_per_second", "Too many requests.", retry_after_s=one.retry_after_s)
        taken = await tokens.reserve(payer, n_tokens)
        if isinstance(taken, Refused):
            await requests.settle(one, 0.0)
            if taken.retry_after_s is None:
                raise Denied(400, "too_many_tokens", f"{n_tokens:.0f} tokens are more than may be asked for at once.")
            raise Denied(429, "tokens_per_second", "Too many tokens.", retry_after_s=taken.retry_after_s)
        return lambda used: tokens.settle(taken, used)
