"""The servers behind the gateway: which can be asked, asking one, and trying another when it fails before it has answered anything."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from workbench.core.errors import WorkbenchError
from workbench.gateway.breaker import Breaker, RetryBudget
from workbench.gateway.config import GatewayConfig
from workbench.gateway.routing import Replica, by_prefix, least_loaded

TRY_ANOTHER = frozenset({502, 503, 504})


class UpstreamFailed(WorkbenchError):
    """No replica answers."""

    def __init__(self, status: int, cause: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(cause, remedy="Try again later.")
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(slots=True)
class _Known:
    replica: Replica
    breaker: Breaker
    version: str | None


class Upstreams:
    """All replicas, with a breaker for each and a budget for retries over all.

    Args:
        config: Names them.
        clock: Seconds that never go back.
    """

    def __init__(self, config: GatewayConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
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
        """Make connections possible."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
            timeout=aiohttp.ClientTimeout(total=self._config.answer_timeout_s, sock_connect=5.0),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
        )

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()

    def states(self) -> dict[str, str]:
        """State of each breaker by the name of its replica."""
        return {k.replica.name: str(k.breaker.state) for k in self._known}

    def _choose(self, beginning: str, tried: set[str], version: str | None) -> tuple[_Known, int]:
        """A replica that lets a call through, and its ticket."""
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
            raise UpstreamFailed(503, "All replicas are left alone after failures.", retry_after_s=min(waits))
        raise UpstreamFailed(502, "No replica answers.")

    @asynccontextmanager
    async def answer(
        self, path: str, body: bytes, headers: Mapping[str, str], *, beginning: str, version: str | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The beginning of an answer; another replica of the version is tried when one fails before that, within the budget.

        Raises ``UpstreamFailed`` when nobody answers. What fails later is for the reader of the answer to see.
        """
        self._retries.request()
        tried: set[str] = set()
        n_alike = sum(version in {None, k.version} for k in self._known)
        while True:
            known, ticket = self._choose(beginning, tried, version)
            tried.add(known.replica.name)
            began, call = self._clock(), _Call(known, ticket)
            try:
                response = await self._asked(known, path, body, headers)
                may_try_another = len(tried) < n_alike
                if response is None or response.status in TRY_ANOTHER:
                    call.over(failed=True, took_s=self._clock() - began)
                    if may_try_another and self._retries.retry():
                        if response is not None:
                            response.close()
                        continue
                if response is None:
                    raise UpstreamFailed(502, f"{known.replica.name} does not answer.")
                try:
                    yield response
                    call.over(failed=response.status >= 500, took_s=self._clock() - began)
                except (aiohttp.ClientError, TimeoutError, OSError):
                    call.over(failed=True, took_s=self._clock() - began)
                    raise
                finally:
                    response.close()
                return
            finally:
                call.end()

    async def _asked(
        self, known: _Known, path: str, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse | None:
        """The beginning of a replica's answer; None when it does not answer at all."""
        assert self._session is not None
        try:
            return await self._session.post(known.replica.url + path, data=body, headers=headers)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def models(self) -> tuple[int, bytes]:
        """What the first replica that answers lists."""
        assert self._session is not None
        for known in self._known:
            try:
                async with self._session.get(f"{known.replica.url}/v1/models") as response:
                    return response.status, await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                continue
        return 502, b'{"error": {"message": "No replica answers.", "code": "upstream"}}'


class _Call:
    """One call to a replica: counted while it lasts, and told to its breaker once."""

    def __init__(self, known: _Known, ticket: int) -> None:
        self._known, self._ticket, self._is_told = known, ticket, False
        known.replica.n_under_way += 1

    def over(self, *, failed: bool, took_s: float) -> None:
        """How it went."""
        if not self._is_told:
            self._is_told = True
            self._known.breaker.end(self._ticket, failed=failed, took_s=took_s)

    def end(self) -> None:
        """It is over; one that was given up says nothing about the replica."""
        self._known.replica.n_under_way -= 1
        if not self._is_told:
            self._known.breaker.abandon(self._ticket)
