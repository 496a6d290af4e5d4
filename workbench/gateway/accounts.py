"""Request and token limits of tenants: reserved before a request and settled after it."""

from workbench.gateway.asgi import Denied
from workbench.gateway.config import Tenant
from workbench.gateway.shared_limits import Limits, LocalLimits, RedisLink, SharedLimits
from workbench.gateway.token_bucket import Clock, Rate, Refused, Reservation


class Charge:
    """What one request has reserved; it is settled once, whatever is called afterwards."""

    def __init__(self, requests: tuple[Limits, Reservation], tokens: tuple[Limits, Reservation]) -> None:
        self._requests, self._tokens = requests, tokens
        self._is_open = True

    async def settle(self, n_tokens: float) -> None:
        """Charge the request, and the tokens that it cost."""
        await self._end(1.0, n_tokens)

    async def refund(self) -> None:
        """Charge nothing: the request was not served."""
        await self._end(0.0, 0.0)

    async def _end(self, n_requests: float, n_tokens: float) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if not n_requests:
            await self._requests[0].settle(self._requests[1], 0.0)
        await self._tokens[0].settle(self._tokens[1], n_tokens)


class Accounts:
    """Two limits for each tenant, kept for several gateways in Redis where a link is given, else in this process."""

    def __init__(self, link: RedisLink | None, *, clock: Clock) -> None:
        self.link, self._clock = link, clock
        self._limits: dict[str, tuple[Limits, Limits]] = {}

    def _limits_for(self, rate: Rate, name: str) -> Limits:
        if self.link is None:
            return LocalLimits(rate, clock=self._clock)
        return SharedLimits(rate, link=self.link, name=f"gateway:{name}", clock=self._clock)

    async def reserve(self, tenant: Tenant, payer: str, n_tokens: float) -> Charge:
        """Reserve one request and the tokens that it costs at most.

        Raises ``Denied`` where a limit is exceeded; nothing is reserved then.

        The bucket belongs to ``payer``, which is the tenant, or an address without a key; the rates are the tenant's.
        """
        name = f"{tenant.name}:{tenant.request_rate.per_s:g}:{tenant.token_rate.per_s:g}"
        name += f":{tenant.request_rate.burst:g}:{tenant.token_rate.burst:g}"
        if name not in self._limits:
            self._limits[name] = (
                self._limits_for(tenant.request_rate, f"requests:{tenant.name}"),
                self._limits_for(tenant.token_rate, f"tokens:{tenant.name}"),
            )
        requests, tokens = self._limits[name]
        one = await requests.reserve(payer, 1.0)
        if isinstance(one, Refused):
            raise Denied(
                429, "requests_per_second", "The request rate limit is exceeded.", retry_after_s=one.retry_after_s
            )
        try:
            taken = await tokens.reserve(payer, n_tokens)
        except BaseException:  # cancelled while Redis is asked: the request was not served
            await requests.settle(one, 0.0)
            raise
        if isinstance(taken, Refused):
            await requests.settle(one, 0.0)
            if taken.retry_after_s is None:
                text = f"{n_tokens:.0f} tokens exceed the burst limit of this tenant."
                raise Denied(400, "too_many_tokens", text, field="max_tokens")
            raise Denied(
                429, "tokens_per_second", "The token rate limit is exceeded.", retry_after_s=taken.retry_after_s
            )
        return Charge((requests, one), (tokens, taken))
