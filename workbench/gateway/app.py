"""The gateway: an ASGI application before OpenAI-compatible servers, which forwards answers chunk by chunk."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp
import msgspec

from workbench.core.rows import plain
from workbench.gateway.abuse import AbuseWatch
from workbench.gateway.accounts import Accounts
from workbench.gateway.admission import ConcurrencyLimit, FairQueue, WaitForecast
from workbench.gateway.answer_cache import AnswerCache, cache_key, is_repeatable
from workbench.gateway.answers import StreamReader, redact_request
from workbench.gateway.asgi import (
    GONE,
    Denied,
    HttpScope,
    Receive,
    Scope,
    Send,
    Sender,
    deny,
    receive_message,
    reply,
    reply_bytes,
    stopping_when_gone,
)
from workbench.gateway.audit import AuditLog, LogEntry
from workbench.gateway.config import GatewayConfig, Tenant, tenant_of
from workbench.gateway.counters import GatewayCounters
from workbench.gateway.degradation import Ladder, degrade_request
from workbench.gateway.outcome import OutcomeWatch
from workbench.gateway.token_bucket import Clock, Penalties, Refused
from workbench.gateway.upstreams import UpstreamFailed, Upstreams
from workbench.gateway.validation import BadRequest, CheckedRequest, check_request
from workbench.gateway.versions import Versions

QUESTIONS = {"/v1/completions": False, "/v1/chat/completions": True}
OFFENCES_BEFORE_REFUSED = 20.0
HALF_LIFE_S = 60.0
OFFENCES = frozenset({400, 401, 413})
ANONYMOUS = "anonymous"
MOST_HEADERS_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A validated request, and where its answer goes."""

    path: str
    body: bytes
    """Body that is forwarded."""
    asked: CheckedRequest
    tenant: Tenant
    headers: Mapping[bytes, bytes]
    send: Sender
    entry: LogEntry
    """Entry of the audit log and the metrics."""
    watch: OutcomeWatch
    """Reports to a rollout how the request ended."""

    @property
    def reply_headers(self) -> dict[str, str | None]:
        """Headers of the answer: how it was degraded, and which version answers; None is left out."""
        return {"x-degraded": self.entry.degraded, "x-model-version": self.entry.version}

    @property
    def is_stream(self) -> bool:
        """Whether the answer is streamed as events."""
        return bool(self.asked.request.stream)


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
        self.config, self._clock, self._count = config, clock, count
        self._versions = versions or Versions()
        self.upstreams = Upstreams(config, clock=clock)
        self.limit = ConcurrencyLimit(config.concurrency, clock=clock)
        self._waiting = FairQueue(max_waiting=config.max_waiting, weights={t.name: t.weight for t in config.tenants})
        self._forecast = WaitForecast(clock=clock)
        self._ladder = Ladder(config.degradation, clock=clock)
        self._accounts = Accounts(config.redis, clock=clock)
        self._penalties = Penalties(limit=OFFENCES_BEFORE_REFUSED, half_life_s=HALF_LIFE_S, clock=clock)
        self._cache: AnswerCache | None = None
        if config.cache_bytes:
            self._cache = AnswerCache(max_bytes=config.cache_bytes, ttl_s=config.cache_ttl_s, clock=clock)
        self.abuse = AbuseWatch(clock=clock)
        self._audit = AuditLog(config.audit)
        self.counters = GatewayCounters(self)

    @property
    def n_waiting(self) -> int:
        """Requests that wait in the queue."""
        return len(self._waiting)

    @property
    def n_rungs(self) -> int:
        """Rungs of the degradation ladder that are active now."""
        return self._ladder.n

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
                await self.upstreams.open()
                await send({"type": "lifespan.startup.complete"})
            elif kind == "lifespan.shutdown":
                await self.upstreams.close()
                await self._accounts.close()
                self._audit.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        path, method = scope.path, scope.method
        if method == "GET" and path == "/health":
            await reply(send, 200, {"status": "ok"})
        elif method == "GET" and path == "/metrics":
            await reply_bytes(send, 200, self.counters.page(), "text/plain; version=0.0.4")
        elif method == "GET" and path == "/v1/models":
            status, body = await self.upstreams.models()
            await reply_bytes(send, status, body, "application/json")
        elif method == "GET" and path == "/rollout" and (state := self._versions.state()) is not None:
            await reply(send, 200, plain(state))
        elif path in QUESTIONS and method == "POST":
            await self._question(scope, receive, send, is_chat=QUESTIONS[path])
        else:
            await deny(send, Denied(404, "not_found", "This gateway has no such route."))

    async def _question(self, scope: HttpScope, receive: Receive, send: Send, *, is_chat: bool) -> None:
        began, sender = self._clock(), Sender(send)
        entry = LogEntry(path=scope.path, client=scope.address)
        try:
            await self._answer(scope, receive, sender, entry, is_chat=is_chat)
        except Denied as denied:
            entry.status, entry.code = denied.status, denied.code
            if denied.status in OFFENCES:
                self._penalties.offend(_who(entry))
            if not sender.has_begun and denied.status != GONE:
                await deny(send, denied)
        finally:
            entry.status, entry.took_s = entry.status or sender.status or GONE, round(self._clock() - began, 4)
            self.counters.record(entry)
            self._audit.write(entry)

    async def _answer(
        self, scope: HttpScope, receive: Receive, send: Sender, entry: LogEntry, *, is_chat: bool
    ) -> None:
        _require_short_headers(scope)
        if (refused := self._penalties.refusal(_who(entry))) is not None and b"authorization" not in scope.header:
            raise _penalty(refused)
        tenant = self._tenant(scope.header)
        entry.tenant = tenant.name
        if (refused := self._penalties.refusal(_who(entry))) is not None:
            raise _penalty(refused)
        raw = await self._body(scope.header, receive)
        try:
            asked = check_request(raw, self.config.limits, is_chat=is_chat, count=self._count)
        except BadRequest as error:
            raise Denied(error.status, error.code, f"{error.cause} {error.remedy}", field=error.field) from error
        body = raw
        if self.config.redact:
            body, entry.redacted = redact_request(asked)
        entry.prompt_tokens, entry.stream = asked.n_prompt_tokens, bool(asked.request.stream)
        assignment = self._versions.assign(f"{_who(entry)} {asked.request.user}" if asked.request.user else None)
        entry.version = assignment.version if assignment is not None else None
        question = _Question(
            path=scope.path,
            body=body,
            asked=asked,
            tenant=tenant,
            headers=scope.header,
            send=send,
            entry=entry,
            watch=OutcomeWatch(self._versions, assignment, clock=self._clock, is_stream=entry.stream),
        )
        async with stopping_when_gone(receive):
            key = self._cache_key(question)
            if key is None or self._cache is None:
                await self._forward(question, None)
                return
            async with self._cache.turn(key) as cached:
                if cached is None:
                    await self._forward(question, key)
                else:
                    entry.cached = True
                    kind = "text/event-stream" if question.is_stream else "application/json"
                    await send.begin(200, kind, more=question.reply_headers)
                    await send.end(cached)

    async def _forward(self, q: "_Question", key: str | None) -> None:
        """Forward a request to a server, and cache the answer under a key where there is one."""
        rung = self._ladder.rung(self._forecast.wait_s(len(self._waiting)))
        less = degrade_request(q.body, rung) if rung is not None else None
        if rung is not None and less is not None:
            q, key = replace(q, body=less), None
            q.entry.degraded = rung.label
        payer = q.entry.client if q.tenant.name == ANONYMOUS else q.tenant.name
        settle = await self._accounts.reserve(q.tenant, payer, float(q.asked.n_prompt_tokens + q.asked.n_answer_tokens))
        reader = StreamReader(redact=self.config.redact, is_stream=q.is_stream)
        try:
            async with self._slot(q.tenant, q.asked):
                await self._relay(q, key, reader)
        finally:  # a client that disconnects early pays for the tokens so far
            await settle(float(q.asked.n_prompt_tokens + reader.n_tokens) if reader.n_chunks else 0.0)
            q.entry.answer_tokens = reader.n_tokens
            if reader.n_chunks:
                self.abuse.record(payer, "\n".join(q.asked.texts), answer_tokens=reader.n_tokens)

    def _tenant(self, headers: Mapping[bytes, bytes]) -> Tenant:
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if self.config.tenants:
            if scheme.lower() == "bearer" and key and (tenant := tenant_of(key.strip(), self.config.tenants)):
                return tenant
            if self.config.anonymous is None:
                raise Denied(401, "no_key", "An API key is required, and this one is missing or not known.")
        return self.config.anonymous or Tenant(name=ANONYMOUS, key_digest="sha256:" + "0" * 64)

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Return the body; raises ``Denied`` for one that is too large or too slow."""
        most = self.config.limits.max_bytes
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > most:
            raise Denied(413, "too_large", f"The body has {int(length)} bytes; the limit is {most}.")
        body = bytearray()
        try:
            async with asyncio.timeout(self.config.body_timeout_s):
                while True:
                    message = await receive_message(receive)
                    if message.type == "http.disconnect":
                        raise Denied(GONE, "client_gone", "The client disconnected.")
                    body += message.body
                    if len(body) > most:
                        raise Denied(413, "too_large", f"The body exceeds the limit of {most} bytes.")
                    if not message.more_body:
                        return bytes(body)
        except TimeoutError as error:
            raise Denied(
                408, "too_slow", f"The body was not received within {self.config.body_timeout_s:g} s."
            ) from error

    def _cache_key(self, q: "_Question") -> str | None:
        if self._cache is None or not is_repeatable(q.asked.request):
            return None
        how = "stream" if q.is_stream else "whole"
        options = json.dumps(q.asked.body.get("stream_options"), sort_keys=True)
        digest = f"{q.asked.request.model}:{q.entry.version}:{how}:{options}"
        return cache_key(q.asked.body, tenant=q.tenant.name, model_digest=digest, endpoint=q.path)

    @asynccontextmanager
    async def _slot(self, tenant: Tenant, asked: CheckedRequest) -> AsyncIterator[None]:
        """Hold a slot of the concurrency limit, after waiting in the fair queue; raises ``Denied`` past the deadline."""
        if self._waiting or not self.limit.begin():
            await self._wait_for_slot(tenant, float(asked.n_prompt_tokens + asked.n_answer_tokens))
        self._forecast.record_start()
        try:
            yield
        finally:
            self.limit.end()
            self._let_in()

    async def _wait_for_slot(self, tenant: Tenant, cost: float) -> None:
        late = self._forecast.judge(self._waiting.n_before(tenant.name) + 1, deadline_s=self.config.deadline_s)
        if late is not None:
            raise Denied(
                503, "overloaded", "The request would begin after its deadline.", retry_after_s=late.retry_after_s
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        dropped = self._waiting.put(tenant.name, turn, cost=cost)
        if isinstance(dropped, asyncio.Future) and not dropped.done():
            wait_s = self._forecast.wait_s(len(self._waiting))
            dropped.set_exception(Denied(503, "overloaded", "The queue is full.", retry_after_s=max(1.0, wait_s)))
        self._let_in()
        try:
            await asyncio.wait_for(asyncio.shield(turn), self.config.deadline_s)
        except TimeoutError as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                return  # the slot was granted at the same moment
            self._waiting.remove(turn)
            raise Denied(
                503, "overloaded", "The request waited until its deadline.", retry_after_s=self.config.deadline_s
            ) from error
        except asyncio.CancelledError:
            if not self._waiting.remove(turn) and turn.done() and turn.exception() is None:
                self.limit.end()
                self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting and self.limit.begin():
            turn = self._waiting.take()
            if isinstance(turn, asyncio.Future) and not turn.done():
                turn.set_result(None)
            else:
                self.limit.end()

    async def _relay(self, q: "_Question", key: str | None, reader: StreamReader) -> None:
        """Send a request to a replica and relay its answer."""
        beginning = q.asked.texts[0][: self.config.prefix_characters] if q.asked.texts else ""
        up = {"content-type": "application/json", "x-request-id": q.entry.id}
        if (trace := q.headers.get(b"traceparent")) is not None:
            up["traceparent"] = trace.decode("latin-1")
        began = self._clock()
        try:
            with q.watch:
                async with self.upstreams.answer(
                    q.path, q.body, up, beginning=beginning, version=q.entry.version
                ) as response:
                    q.watch.begins(response.status, response.headers, str(response.url.origin()))
                    if response.status in {429, 503}:
                        self.limit.overloaded()
                    kind = response.headers.get("content-type", "application/json")
                    await q.send.begin(response.status, kind, more=q.reply_headers)
                    body = await self._chunks(response, reader, q, began=began, keep=key is not None)
                    if key is not None and self._cache is not None and response.status == 200:
                        self._cache.put(key, body)
        except UpstreamFailed as error:
            raise Denied(error.status, "upstream", error.cause, retry_after_s=error.retry_after_s) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            q.entry.code = "upstream_died"
            if not q.send.has_begun:
                raise Denied(502, "upstream", f"The server failed: {type(error).__name__}.") from error
            await q.send.end(_error_event("The server behind the gateway failed before its answer was complete."))

    async def _chunks(
        self, response: aiohttp.ClientResponse, reader: StreamReader, q: "_Question", *, began: float, keep: bool
    ) -> bytes:
        """Relay every chunk as it arrives; return all of them where they are to be cached."""
        chunks: list[bytes] = []
        async for chunk in response.content.iter_any():
            if reader.n_chunks == 0:
                ttft_s = self._clock() - began
                q.entry.ttft_s = round(ttft_s, 4)
                self.limit.first_token(ttft_s)
                self._let_in()
            q.watch.feed(chunk)
            out = reader.feed(chunk)
            if out:
                await q.send.more(out)
            if keep:
                chunks.append(out)
        if reader.n_tokens > 1 and q.is_stream and q.entry.ttft_s is not None:
            q.entry.tpot_s = (self._clock() - began - q.entry.ttft_s) / (reader.n_tokens - 1)
        rest = reader.end()
        q.watch.ended()
        await q.send.end(rest)
        return b"".join([*chunks, rest]) if keep else b""


def _who(entry: LogEntry) -> str:
    """Return whose offences count together: a tenant, or an address without a key."""
    return f"address {entry.client}" if entry.tenant in {None, ANONYMOUS} else f"tenant {entry.tenant}"


def _penalty(refused: Refused) -> Denied:
    return Denied(
        429, "penalty", "Too many invalid requests were sent by this client.", retry_after_s=refused.retry_after_s
    )


def _require_short_headers(scope: HttpScope) -> None:
    if scope.header_bytes > MOST_HEADERS_BYTES:
        raise Denied(431, "headers_too_large", f"The headers have more than {MOST_HEADERS_BYTES} bytes.")


def _error_event(text: str) -> bytes:
    return b"data: " + json.dumps({"error": {"message": text, "code": "upstream_died"}}).encode() + b"\n\n"
