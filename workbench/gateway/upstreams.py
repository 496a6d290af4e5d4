"""Servers behind the gateway: health, circuit breakers, requests, and retries on another replica before an answer has begun."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import msgspec

from workbench.core.errors import WorkbenchError
from workbench.core.rows import Json
from workbench.gateway.breaker import Breaker, RetryBudget
from workbench.gateway.config import GatewayConfig
from workbench.gateway.replicas import Call, HealthCheck, Known
from workbench.gateway.routing import Replica, by_prefix, least_loaded
from workbench.gateway.token_bucket import Clock
from workbench.gateway.upstream_config import Upstream

TRY_ANOTHER = frozenset({502, 503, 504})
COUNT_TIMEOUT_S = 2.0


class UpstreamFailed(WorkbenchError):
    """An error: no replica answered a request."""

    def __init__(self, status: int, cause: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(cause, remedy="Try again later.")
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An answer that has begun."""

    response: aiohttp.ClientResponse
    first: bytes
    """First chunk of a stream."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield every chunk of the body as it arrives."""
        if self.first:
            yield self.first
        async for chunk in self.response.content.iter_any():
            yield chunk


class _Count(msgspec.Struct):
    count: int


class Upstreams:
    """All replicas, with a circuit breaker and a health check for each and one retry budget."""

    def __init__(self, config: GatewayConfig, *, clock: Clock = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._known = [_known(u, Breaker(config.breaker, clock=clock)) for u in config.upstreams]
        self._retries = RetryBudget(share=config.retry_share, clock=clock)
        self._session: aiohttp.ClientSession | None = None
        self._health = HealthCheck(self._known, every_s=config.health_every_s, timeout_s=config.health_timeout_s)
        self._without_tokenizer: set[str] = set()

    async def open(self) -> None:
        """Open the session for connections to the replicas, and begin to check them."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
            timeout=aiohttp.ClientTimeout(total=self._config.answer_timeout_s, sock_connect=5.0),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            skip_auto_headers=("User-Agent",),
        )
        self._health.open(self._session)

    async def close(self) -> None:
        """Close the connections to the replicas."""
        self._health.close()
        if self._session is not None:
            await self._session.close()

    def states(self) -> dict[str, str]:
        """Return the state of each circuit breaker by the name of its replica."""
        return {k.replica.name: str(k.breaker.state) for k in self._known}

    def health(self) -> dict[str, bool]:
        """Return whether each replica passed its latest health checks."""
        return {k.replica.name: k.is_healthy for k in self._known}

    def _choose(self, beginning: str, tried: set[str], version: str | None) -> tuple[Known, int]:
        """Return a replica whose circuit breaker lets a call pass, and the ticket of the call; unhealthy ones only where all are."""
        able = [k for k in self._known if k.replica.name not in tried and version in {None, k.version}]
        able = [k for k in able if k.is_healthy] or able
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
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        beginning: str,
        version: str | None = None,
        is_stream: bool = False,
        calling: Callable[[Call], None] | None = None,
    ) -> AsyncIterator[Begun]:
        """Yield an answer once it has begun; before that, a failed call is retried on another replica of the version, within the budget.

        A stream whose first byte takes longer than ``first_byte_timeout_s`` is a failed call. Raises ``UpstreamFailed`` when no replica answers. A
        failure after the beginning reaches the reader of the answer. ``calling`` gets every call that is made.
        """
        self._retries.request()
        tried: set[str] = set()
        n_alike = sum(version in {None, k.version} for k in self._known)
        while True:
            known, ticket = self._choose(beginning, tried, version)
            tried.add(known.replica.name)
            call = Call(known, ticket, clock=self._clock, is_stream=is_stream)
            if calling is not None:
                calling(call)
            try:
                begun = await self._post(known, path, body, headers, is_stream=is_stream)
                if begun is None or begun.response.status in TRY_ANOTHER:
                    call.report(failed=True)
                    if len(tried) < n_alike and self._retries.retry():
                        if begun is not None:
                            begun.response.close()
                        continue
                if begun is None:
                    raise UpstreamFailed(502, f"{known.replica.name} does not answer.")
                try:
                    call.begins()
                    yield begun
                    call.report(failed=begun.response.status >= 500)
                except (aiohttp.ClientError, TimeoutError, OSError):
                    call.report(failed=True)
                    raise
                finally:
                    begun.response.close()
                return
            finally:
                call.end()

    async def _post(
        self, known: Known, path: str, body: bytes, headers: Mapping[str, str], *, is_stream: bool
    ) -> Begun | None:
        """Return the answer of a replica once it has begun; None when the replica does not answer."""
        assert self._session is not None
        limit_s = self._config.first_byte_timeout_s if is_stream else self._config.answer_timeout_s
        response, first = None, b""
        try:
            async with asyncio.timeout(limit_s):
                url = known.replica.url + path
                response = await self._session.post(url, data=body, headers={**headers, **known.headers})
                if is_stream and response.status < 400:
                    first = await response.content.readany()
                return Begun(response=response, first=first)
        except (aiohttp.ClientError, TimeoutError, OSError):
            if response is not None:
                response.close()
            return None
        except asyncio.CancelledError:
            if response is not None:
                response.close()
            raise

    async def n_tokens(self, body: Mapping[str, Json], *, version: str | None) -> int | None:
        """Return the tokens of a text or a chat by the tokenizer of a server (``/tokenize`` of vLLM); None where no server has one."""
        assert self._session is not None
        limit = aiohttp.ClientTimeout(total=COUNT_TIMEOUT_S)
        for known in self._known:
            name = known.replica.name
            if name in self._without_tokenizer or not known.is_healthy or version not in {None, known.version}:
                continue
            url = f"{known.replica.url}/tokenize"
            try:
                async with self._session.post(url, json=body, headers=known.headers, timeout=limit) as response:
                    if response.status in {404, 405, 501}:
                        self._without_tokenizer.add(name)
                    elif response.status == 200:
                        return msgspec.json.decode(await response.read(), type=_Count).count
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
                continue
        return None

    async def models(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a path below ``/v1/models`` of the first replica that answers."""
        assert self._session is not None
        for known in sorted(self._known, key=lambda k: not k.is_healthy):
            try:
                async with asyncio.timeout(self._config.first_byte_timeout_s):
                    async with self._session.get(known.replica.url + path, headers=known.headers) as response:
                        return response.status, await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                continue
        return 502, b'{"error": {"message": "No replica answers.", "code": "upstream"}}'


def _known(u: Upstream, breaker: Breaker) -> Known:
    replica = Replica(name=u.name, url=u.url.rstrip("/").removesuffix("/v1"), weight=u.weight)
    key = u.key()
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return Known(replica=replica, breaker=breaker, version=u.version, headers=headers, health_path=u.health_path)
