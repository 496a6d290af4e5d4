"""The gateway: an ASGI application before OpenAI-compatible servers, which forwards answers chunk by chunk."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from workbench.core.errors import InvalidSpec
from workbench.core.rows import plain
from workbench.gateway import redaction
from workbench.gateway.abuse import AbuseWatch
from workbench.gateway.access import ANONYMOUS, KeyDoor, client_address
from workbench.gateway.accounts import Accounts
from workbench.gateway.answer_cache import AnswerCache, cache_key, is_repeatable
from workbench.gateway.answers import redact_request
from workbench.gateway.asgi import (
    GONE,
    Denied,
    HttpScope,
    Receive,
    Scope,
    Send,
    Sender,
    deny,
    read_body,
    receive_message,
    reply,
    reply_bytes,
    stopping_when_gone,
)
from workbench.gateway.audit import AuditLog, LogEntry
from workbench.gateway.config import GatewayConfig
from workbench.gateway.counters import GatewayCounters
from workbench.gateway.endpoints import ENDPOINTS, Endpoint
from workbench.gateway.outcome import OutcomeWatch
from workbench.gateway.relay import Question, Relay
from workbench.gateway.request_json import BadRequest, written
from workbench.gateway.shared_limits import RedisLink, redis_client
from workbench.gateway.slots import Slots
from workbench.gateway.token_bucket import Clock
from workbench.gateway.upstreams import Upstreams
from workbench.gateway.validation import check_request
from workbench.gateway.versions import Versions

OPERATORS = frozenset({"/metrics", "/rollout"})
"""Paths for operators."""
MOST_HEADERS_BYTES = 16_384
FIXED = ("redis", "rollout", "header_timeout_s", "idle_timeout_s", "admin")
"""Fields of the configuration that a running gateway keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What is made of a configuration, and made anew for another one."""

    config: GatewayConfig
    upstreams: Upstreams
    slots: Slots
    cache: AnswerCache | None
    audit: AuditLog
    relay: Relay


class Gateway:
    """ASGI application that validates, limits, queues, routes and forwards requests.

    ``count`` counts the tokens of a text (None: estimated from bytes), and ``versions`` chooses the version during a rollout.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        clock: Clock = time.monotonic,
        count: Callable[[str], int] | None = None,
        versions: Versions | None = None,
    ) -> None:
        self._clock, self._count = clock, count
        self._versions = versions or Versions()
        self.abuse = AbuseWatch(clock=clock)
        self.accounts = Accounts(RedisLink(redis_client(config.redis)) if config.redis else None, clock=clock)
        self._parts = self._parts_of(config)
        self._door = KeyDoor(config, clock=clock)
        self.is_reloaded = True
        """Whether the latest configuration that was read is in use."""
        self.counters = GatewayCounters(self)
        self._closing: set[asyncio.Task[None]] = set()

    def _parts_of(self, config: GatewayConfig) -> _Parts:
        upstreams, slots, cache = Upstreams(config, clock=self._clock), Slots(config, clock=self._clock), None
        if config.cache_bytes:
            cache = AnswerCache(max_bytes=config.cache_bytes, ttl_s=config.cache_ttl_s, clock=self._clock)
        relay = Relay(
            config,
            clock=self._clock,
            upstreams=upstreams,
            accounts=self.accounts,
            slots=slots,
            cache=cache,
            abuse=self.abuse,
        )
        audit = AuditLog(config.audit)
        return _Parts(config=config, upstreams=upstreams, slots=slots, cache=cache, audit=audit, relay=relay)

    @property
    def config(self) -> GatewayConfig:
        """Configuration that is in use."""
        return self._parts.config

    @property
    def upstreams(self) -> Upstreams:
        """Servers that requests are forwarded to."""
        return self._parts.upstreams

    @property
    def slots(self) -> Slots:
        """Concurrency limit with its queue."""
        return self._parts.slots

    @property
    def n_rungs(self) -> int:
        """Rungs of the degradation ladder that are active now."""
        return self._parts.relay.n_rungs

    async def reload(self, config: GatewayConfig) -> None:
        """Use another configuration for new requests; budgets, penalties and counters go on, and running requests end under the old one.

        Raises ``InvalidSpec`` for one that needs a restart; the old one stays in use then.
        """
        old = self._parts
        changed = [name for name in FIXED if getattr(config, name) != getattr(old.config, name)]
        if changed:
            cause = f"{', '.join(changed)} cannot change while the gateway runs."
            raise InvalidSpec(cause, remedy="Restart the gateway.")
        new = self._parts_of(config)
        await new.upstreams.open()
        self._parts, self._door.config = new, config
        task = asyncio.create_task(_close_when_idle(old))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI 3 connection."""
        if scope.get("type") == "lifespan":
            await self._lifespan(receive, send)
        elif scope.get("type") == "http":
            await self._http(msgspec.convert(scope, HttpScope), receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive_message(receive)).type
            if kind == "lifespan.startup":
                await self.open()
                await send({"type": "lifespan.startup.complete"})
            elif kind == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def open(self) -> None:
        """Open the connections to the servers and to Redis, and load what redaction needs, which takes seconds on a busy machine."""
        if self.config.redact:
            await asyncio.to_thread(redaction.load)
        await self.upstreams.open()
        if self.accounts.link is not None:
            await self.accounts.link.warm()
            self.accounts.link.open()

    async def close(self) -> None:
        """Close the connections and the log."""
        for task in tuple(self._closing):
            task.cancel()
        await self.upstreams.close()
        self._parts.audit.close()
        if self.accounts.link is not None:
            await self.accounts.link.close()

    async def _http(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        path, method = scope.path, scope.method
        address = client_address(scope, self.config.trusted_proxies)
        try:
            if method == "GET" and path == "/health":
                await reply(send, 200, {"status": "ok"})
            elif method == "GET" and path in OPERATORS:
                self._door.require_operator(scope, address)
                await self.operate(path, send)
            elif method == "GET" and (path == "/v1/models" or path.startswith("/v1/models/")):
                self._door.tenant(scope.header, address)
                status, body = await self.upstreams.models(path)
                await reply_bytes(send, status, body, "application/json")
            elif method == "POST" and (endpoint := ENDPOINTS.get(path)) is not None:
                await self._question(scope, receive, send, endpoint=endpoint, address=address)
            else:
                raise Denied(404, "not_found", "This gateway has no such route.")
        except Denied as denied:
            await deny(send, denied)

    async def operate(self, path: str, send: Send) -> None:
        """Answer what an operator asks for."""
        if path == "/metrics":
            await reply_bytes(send, 200, self.counters.page(), "text/plain; version=0.0.4")
        elif path == "/rollout" and (state := self._versions.state()) is not None:
            await reply(send, 200, plain(state))
        else:
            raise Denied(404, "not_found", "This gateway has no such route.")

    async def _question(
        self, scope: HttpScope, receive: Receive, send: Send, *, endpoint: Endpoint, address: str
    ) -> None:
        began, sender = self._clock(), Sender(send)
        entry = LogEntry(path=scope.path, client=address)
        try:
            await self._answer(scope, receive, sender, entry, endpoint=endpoint)
        except Denied as denied:
            entry.status, entry.code = denied.status, denied.code
            if not sender.has_begun and denied.status != GONE:
                await deny(send, denied)
        finally:
            entry.status, entry.took_s = entry.status or sender.status or GONE, round(self._clock() - began, 4)
            self.counters.record(entry)
            self._parts.audit.write(entry)

    async def _answer(
        self, scope: HttpScope, receive: Receive, send: Sender, entry: LogEntry, *, endpoint: Endpoint
    ) -> None:
        _require_short_headers(scope)
        tenant = self._door.tenant(scope.header, entry.client)
        entry.tenant = tenant.name
        raw = await read_body(
            scope, receive, most_bytes=self.config.limits.max_bytes, timeout_s=self.config.body_timeout_s
        )
        try:
            asked = check_request(raw, self.config.limits, endpoint=endpoint, count=self._count)
        except BadRequest as error:
            raise Denied(error.status, error.code, f"{error.cause} {error.remedy}", field=error.field) from error
        if self.config.redact:
            body, entry.redacted = redact_request(asked)
        else:
            body = written(asked.forwarded) if asked.added else raw
        entry.prompt_tokens, entry.stream = asked.n_prompt_tokens, bool(asked.request.stream)
        assignment = self._versions.assign(f"{_who(entry)} {asked.request.user}" if asked.request.user else None)
        entry.version = assignment.version if assignment is not None else None
        question = Question(
            body=body,
            asked=asked,
            tenant=tenant,
            headers=scope.header,
            send=send,
            entry=entry,
            watch=OutcomeWatch(self._versions, assignment, clock=self._clock, is_stream=entry.stream),
        )
        await self._reply(question, receive)

    async def _reply(self, q: Question, receive: Receive) -> None:
        """Answer from the cache or from a server, until the client disconnects."""
        relay, cache = self._parts.relay, self._parts.cache
        async with stopping_when_gone(receive, q.send):
            if cache is None or not is_repeatable(q.asked.request):
                await relay.forward(q, None)
                return
            key = _cache_key(q)
            async with cache.turn(key) as cached:
                if cached is None:
                    await relay.forward(q, key)
                else:
                    await relay.send_cached(q, cached)


async def _close_when_idle(parts: _Parts) -> None:
    """Close the parts of an old configuration after its last request."""
    await parts.relay.drained()
    await parts.upstreams.close()
    parts.audit.close()


def _cache_key(q: Question) -> str:
    how = "stream" if q.is_stream else "whole"
    options = json.dumps(q.asked.body.get("stream_options"), sort_keys=True)
    digest = f"{q.asked.request.model}:{q.entry.version}:{how}:{options}"
    return cache_key(q.asked.body, tenant=q.tenant.name, model_digest=digest, endpoint=q.asked.endpoint.path)


def _who(entry: LogEntry) -> str:
    """Return whose users a name belongs to: those of a tenant, or of an address without a key."""
    return f"address {entry.client}" if entry.tenant in {None, ANONYMOUS} else f"tenant {entry.tenant}"


def _require_short_headers(scope: HttpScope) -> None:
    if scope.header_bytes > MOST_HEADERS_BYTES:
        raise Denied(431, "headers_too_large", f"The headers have more than {MOST_HEADERS_BYTES} bytes.")
