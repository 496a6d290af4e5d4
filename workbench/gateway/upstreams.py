"""Servers behind the gateway: circuit breakers, requests, and retries on another replica before an answer has begun."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from workbench.core.errors import WorkbenchError
from workbench.gateway.breaker import Breaker, RetryBudget
from workbench.gateway.config import GatewayConfig
from workbench.gateway.routing import Replica, by_prefix, least_loaded
from workbench.gateway.token_bucket import Clock

TRY_ANOTHER = frozenset({502, 503, 504})


class UpstreamFailed(WorkbenchError):
    """An error: no replica answered a request."""

    def __init__(self, status: int, cause: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(cause, remedy="Try again later.")
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(slots=True)
class _Known:
    replica: Replica
    breaker: Breaker
    version: str | None


class Upstreams:
    """All replicas, with a circuit breaker for each and one retry budget."""

    def __init__(self, config: GatewayConfig, *, clock: Clock = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._known = [
            _Known(
                Replica(name=u.name, url=u.url.rstrip("/").removesuffix("/v1"), weight=u.weight),
                Breaker(config.breaker, clock=clock),
                u.version,
            )
            for u in config.upstreams
        ]
        self._retries = RetryBudget(share=config.retry_share, clock=clock)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the session for connections to the replicas."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
            timeout=aiohttp.ClientTimeout(total=self._config.answer_timeout_s, sock_connect=5.0),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
        )

    async def close(self) -> None:
        """Close the connections to the replicas."""
        if self._session is not None:
            await self._session.close()

    def states(self) -> dict[str, str]:
        """Return the state of each circuit breaker by the name of its replica."""
        return {k.replica.name: str(k.breaker.state) for k in self._known}

    def _choose(self, beginning: str, tried: set[str], version: str | None) -> tuple[_Known, int]:
        """Return a replica whose circuit breaker lets a call pass, and the ticket of the call."""
        able = [k for k in self._known if k.replica.name not in tried and version in {None, k.version}]
        waits = []
        while able:
            group = [k.replica for k in able]
            chosen = by_prefix(group, beginning) if beginning else least_loaded(group)
            known = next(k for k in able if k.replica is chosen)
            ticket = known.breaker.begin()
            if ticket is not None:
                return known, ticket
            waits.append(known.breaker.retry_after_s)
            able.remove(known)
        if waits:
            raise UpstreamFailed(503, "The circuit breakers of all replicas are open.", retry_after_s=min(waits))
        raise UpstreamFailed(502, "No replica answers.")

    @asynccontextmanager
    async def answer(
        self, path: str, body: bytes, headers: Mapping[str, str], *, beginning: str, version: str | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield an answer once it has begun; before that, a failed call is retried on another replica of the version, within the budget.

        Raises ``UpstreamFailed`` when no replica answers. A failure after the beginning reaches the reader of the answer.
        """
        self._retries.request()
        tried: set[str] = set()
        n_alike = sum(version in {None, k.version} for k in self._known)
        while True:
            known, ticket = self._choose(beginning, tried, version)
            tried.add(known.replica.name)
            began, call = self._clock(), _Call(known, ticket)
            try:
                response = await self._post(known, path, body, headers)
                may_try_another = len(tried) < n_alike
                if response is None or response.status in TRY_ANOTHER:
                    call.report(failed=True, took_s=self._clock() - began)
                    if may_try_another and self._retries.retry():
                        if response is not None:
                            response.close()
                        continue
                if response is None:
                    raise UpstreamFailed(502, f"{known.replica.name} does not answer.")
                try:
                    yield response
                    call.report(failed=response.status >= 500, took_s=self._clock() - began)
                except (aiohttp.ClientError, TimeoutError, OSError):
                    call.report(failed=True, took_s=self._clock() - began)
                    raise
                finally:
                    response.close()
                return
            finally:
                call.end()

    async def _post(
        self, known: _Known, path: str, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse | None:
        """Return the answer of a replica once it has begun; None when the replica does not answer."""
        assert self._session is not None
        try:
            return await self._session.post(known.replica.url + path, data=body, headers=headers)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def models(self) -> tuple[int, bytes]:
        """Return status and body of ``/v1/models`` of the first replica that answers."""
        assert self._session is not None
        for known in self._known:
            try:
                async with self._session.get(f"{known.replica.url}/v1/models") as response:
                    return response.status, await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                continue
        return 502, b'{"error": {"message": "No replica answers.", "code": "upstream"}}'


class _Call:
    """One call to a replica: counted while it runs, and reported to its circuit breaker once."""

    def __init__(self, known: _Known, ticket: int) -> None:
        self._known, self._ticket, self._is_reported = known, ticket, False
        known.replica.n_under_way += 1

    def report(self, *, failed: bool, took_s: float) -> None:
        """Report to the circuit breaker how the call went."""
        if not self._is_reported:
            self._is_reported = True
            self._known.breaker.end(self._ticket, failed=failed, took_s=took_s)

    def end(self) -> None:
        """End the call; one that was abandoned does not count for or against the replica."""
        self._known.replica.n_under_way -= 1
        if not self._is_reported:
            self._known.breaker.abandon(self._ticket)
