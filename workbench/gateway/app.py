"""The gateway: an ASGI application before OpenAI-compatible servers. Answers pass through chunk by chunk."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from workbench.gateway.abuse import AbuseWatch
from workbench.gateway.accounts import Accounts
from workbench.gateway.admission import ConcurrencyLimit, FairQueue, WaitForecast
from workbench.gateway.answer_cache import AnswerCache, cache_key, is_repeatable
from workbench.gateway.answers import StreamReader, without_secrets
from workbench.gateway.asgi import (
    GONE,
    Denied,
    Receive,
    Scope,
    Send,
    Sender,
    deny,
    reply,
    reply_bytes,
    stopping_when_gone,
)
from workbench.gateway.audit import AuditLog
from workbench.gateway.config import GatewayConfig, Tenant, tenant_of
from workbench.gateway.counters import GatewayCounters
from workbench.gateway.degradation import Ladder, shortened
from workbench.gateway.token_bucket import Penalties, Refused
from workbench.gateway.upstreams import UpstreamFailed, Upstreams
from workbench.gateway.validation import BadRequest, CheckedRequest, checked
from workbench.gateway.versions import AnyVersion, Versions

QUESTIONS = {"/v1/completions": False, "/v1/chat/completions": True}
OFFENCES_BEFORE_REFUSED = 20.0
HALF_LIFE_S = 60.0
OFFENCES = frozenset({400, 401, 413})
ANONYMOUS = "anonymous"
MOST_HEADERS_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A checked request on its way, and where its answer goes."""

    path: str
    body: bytes
    """As it is passed on."""
    asked: CheckedRequest
    tenant: Tenant
    headers: Mapping[bytes, bytes]
    send: Sender
    row: dict[str, Any]
    """What the audit log and the counters will have of it."""
    version: str | None

    @property
    def told(self) -> dict[str, str | None]:
        """What the client is told beside the answer: what it gets less of, and which version answers."""
        return {"x-degraded": self.row.get("degraded"), "x-model-version": self.version}

    @property
    def is_stream(self) -> bool:
        """Whether it is answered in events."""
        return bool(self.asked.body.get("stream"))


class Gateway:
    """Checks, limits, queues, routes and passes through.

    Args:
        config: What it was told.
        clock: Seconds that never go back.
        count: Counts the tokens of a text; None: estimated from bytes.
        versions: Chooses between versions of a model during a rollout.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        count: Callable[[str], int] | None = None,
        versions: Versions | None = None,
    ) -> None:
        self.config, self._clock, self._count = config, clock, count
        self._versions = versions or AnyVersion()
        self.upstreams = Upstreams(config, clock=clock)
        self.limit = ConcurrencyLimit(config.concurrency, clock=clock)
        self._waiting = FairQueue(max_waiting=config.max_waiting, weights={t.name: t.weight for t in config.tenants})
        self._forecast = WaitForecast(clock=clock)
        self._ladder = Ladder(config.degradation, clock=clock)
        self._accounts = Accounts(config.redis, clock=clock)
        self._penalties = Penalties(limit=OFFENCES_BEFORE_REFUSED, half_life_s=HALF_LIFE_S, clock=clock)
        self._cache = (
            AnswerCache(max_bytes=config.cache_bytes, ttl_s=config.cache_ttl_s, clock=clock)
            if config.cache_bytes
            else None
        )
        self.abuse = AbuseWatch(clock=clock)
        self._audit = AuditLog(config.audit)
        self.counters = GatewayCounters(self)

    @property
    def n_waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def n_rungs(self) -> int:
        """Rungs of degradation that hold now."""
        return self._ladder.n

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.upstreams.open()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.upstreams.close()
                await self._accounts.close()
                self._audit.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if method == "GET" and path == "/health":
            await reply(send, 200, {"status": "ok"})
        elif method == "GET" and path == "/metrics":
            await reply_bytes(send, 200, self.counters.page(), "text/plain; version=0.0.4")
        elif method == "GET" and path == "/v1/models":
            status, body = await self.upstreams.models()
            await reply_bytes(send, status, body, "application/json")
        elif method == "GET" and path == "/rollout" and (told := self._versions.told()) is not None:
            await reply(send, 200, told)
        elif path in QUESTIONS and method == "POST":
            await self._question(scope, receive, send, is_chat=QUESTIONS[path])
        else:
            await deny(send, Denied(404, "not_found", "There is no such route here."))

    async def _question(self, scope: Scope, receive: Receive, send: Send, *, is_chat: bool) -> None:
        began, sender = self._clock(), Sender(send)
        client = (scope.get("client") or ("unknown", 0))[0]
        row: dict[str, Any] = {"id": uuid.uuid4().hex, "path": scope["path"], "client": client, "tenant": None}
        try:
            await self._answered(scope, receive, sender, row, is_chat=is_chat)
        except Denied as denied:
            row |= {"status": denied.status, "code": denied.code}
            if denied.status in OFFENCES:
                self._penalties.offend(_who(row))
            if not sender.has_begun and denied.status != GONE:
                await deny(send, denied)
        finally:
            row |= {"status": row.get("status") or sender.status or GONE, "took_s": round(self._clock() - began, 4)}
            self.counters.ended(row)
            self._audit.write(row)

    async def _answered(
        self, scope: Scope, receive: Receive, send: Sender, row: dict[str, Any], *, is_chat: bool
    ) -> None:
        headers = _headers(scope)
        if (refused := self._penalties.refused(_who(row))) is not None and b"authorization" not in headers:
            raise _penalty(refused)
        tenant = self._tenant(headers)
        row["tenant"] = tenant.name
        if (refused := self._penalties.refused(_who(row))) is not None:
            raise _penalty(refused)
        raw = await self._body(headers, receive)
        try:
            asked = checked(raw, self.config.limits, is_chat=is_chat, count=self._count)
        except BadRequest as error:
            raise Denied(error.status, error.code, f"{error.cause} {error.remedy}", field=error.field) from error
        body = raw
        if self.config.redact:
            body, row["redacted"] = without_secrets(asked)
        row |= {"prompt_tokens": asked.n_prompt_tokens, "stream": bool(asked.body.get("stream"))}
        row["version"] = self._versions.choose(f"{_who(row)} {asked.body.get('user') or ''}")
        question = _Question(
            path=scope["path"],
            body=body,
            asked=asked,
            tenant=tenant,
            headers=headers,
            send=send,
            row=row,
            version=row["version"],
        )
        async with stopping_when_gone(receive):
            key = self._cache_key(question)
            if key is None or self._cache is None:
                await self._new(question, None)
                return
            async with self._cache.turn(key) as kept:
                if kept is None:
                    await self._new(question, key)
                else:
                    row["cached"] = True
                    kind = "text/event-stream" if question.is_stream else "application/json"
                    await send.begin(200, kind, more=question.told)
                    await send.end(kept)

    async def _new(self, q: "_Question", key: str | None) -> None:
        """An answer of a server, kept under a key if there is one."""
        rung = self._ladder.rung(self._forecast.wait_s(len(self._waiting)))
        less = shortened(q.body, rung) if rung is not None else None
        if rung is not None and less is not None:
            q, key = replace(q, body=less), None
            q.row["degraded"] = rung.told
        payer = q.row["client"] if q.tenant.name == ANONYMOUS else q.tenant.name
        settle = await self._accounts.reserve(q.tenant, payer, float(q.asked.n_prompt_tokens + q.asked.n_answer_tokens))
        reader = StreamReader(redact=self.config.redact, is_stream=q.is_stream)
        try:
            async with self._place(q.tenant, q.asked):
                await self._passed_on(q, key, reader)
        finally:  # whoever leaves early pays for what came until then
            await settle(float(q.asked.n_prompt_tokens + reader.n_tokens) if reader.n_chunks else 0.0)
            q.row["answer_tokens"] = reader.n_tokens
            if reader.n_chunks:
                self.abuse.saw(payer, "\n".join(q.asked.texts), answer_tokens=reader.n_tokens)

    def _tenant(self, headers: Mapping[bytes, bytes]) -> Tenant:
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if self.config.tenants:
            found = tenant_of(key.strip(), self.config.tenants) if scheme.lower() == "bearer" and key else None
            if found is not None:
                return found
            if self.config.anonymous is None:
                raise Denied(401, "no_key", "A key is needed, or this one is not known.")
        return self.config.anonymous or Tenant(name=ANONYMOUS, key_digest="sha256:" + "0" * 64)

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body, within its bytes and its time."""
        most = self.config.limits.max_bytes
        told = headers.get(b"content-length", b"")
        if told.isdigit() and int(told) > most:
            raise Denied(413, "too_large", f"The body has {int(told)} bytes of at most {most}.")
        parts: list[bytes] = []
        n = 0
        try:
            async with asyncio.timeout(self.config.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Denied(GONE, "client_gone", "The client went away.")
                    parts.append(message.get("body", b""))
                    n += len(parts[-1])
                    if n > most:
                        raise Denied(413, "too_large", f"The body has more than {most} bytes.")
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            raise Denied(408, "too_slow", f"The body did not come within {self.config.body_timeout_s:g} s.") from error

    def _cache_key(self, q: "_Question") -> str | None:
        if self._cache is None or not is_repeatable(q.asked.body):
            return None
        how = "stream" if q.is_stream else "whole"
        options = json.dumps(q.asked.body.get("stream_options"), sort_keys=True)
        digest = f"{q.asked.body['model']}:{q.version}:{how}:{options}"
        return cache_key(q.asked.body, tenant=q.tenant.name, model_digest=digest, endpoint=q.path)

    @asynccontextmanager
    async def _place(self, tenant: Tenant, asked: CheckedRequest) -> AsyncIterator[None]:
        """A place among the requests under way, waited for in turn; raises ``Denied`` when it would come too late."""
        if self._waiting or not self.limit.begin():
            await self._wait_in_turn(tenant, float(asked.n_prompt_tokens + asked.n_answer_tokens))
        self._forecast.begun()
        try:
            yield
        finally:
            self.limit.end()
            self._let_in()

    async def _wait_in_turn(self, tenant: Tenant, cost: float) -> None:
        late = self._forecast.judge(self._waiting.n_before(tenant.name) + 1, deadline_s=self.config.deadline_s)
        if late is not None:
            raise Denied(503, "overloaded", "It would begin too late.", retry_after_s=late.retry_after_s)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        dropped = self._waiting.put(tenant.name, turn, cost=cost)
        if isinstance(dropped, asyncio.Future) and not dropped.done():
            wait_s = self._forecast.wait_s(len(self._waiting))
            dropped.set_exception(Denied(503, "overloaded", "Too many requests wait.", retry_after_s=max(1.0, wait_s)))
        self._let_in()
        try:
            await asyncio.wait_for(asyncio.shield(turn), self.config.deadline_s)
        except TimeoutError as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                return  # its turn came at the same moment
            self._waiting.remove(turn)
            raise Denied(503, "overloaded", "It waited too long.", retry_after_s=self.config.deadline_s) from error
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

    async def _passed_on(self, q: "_Question", key: str | None, reader: StreamReader) -> None:
        """Ask a replica and hand its answer on."""
        beginning = q.asked.texts[0][: self.config.prefix_characters] if q.asked.texts else ""
        up = {"content-type": "application/json", "x-request-id": q.row["id"]}
        if (trace := q.headers.get(b"traceparent")) is not None:
            up["traceparent"] = trace.decode("latin-1")
        began = self._clock()
        try:
            async with self.upstreams.answer(q.path, q.body, up, beginning=beginning, version=q.version) as response:
                if response.status in {429, 503}:
                    self.limit.overloaded()
                kind = response.headers.get("content-type", "application/json")
                await q.send.begin(response.status, kind, more=q.told)
                given = await self._chunks(response, reader, q, began=began, keep=key is not None)
                if key is not None and self._cache is not None and response.status == 200:
                    self._cache.put(key, given)
            self._learnt(q, failed=response.status >= 500)
        except UpstreamFailed as error:
            self._learnt(q, failed=True)
            raise Denied(error.status, "upstream", error.cause, retry_after_s=error.retry_after_s) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            q.row["code"] = "upstream_died"
            self._learnt(q, failed=True)
            if not q.send.has_begun:
                raise Denied(502, "upstream", f"The server failed: {type(error).__name__}.") from error
            await q.send.end(_error_event("The server behind the gateway failed before its answer was complete."))

    def _learnt(self, q: "_Question", *, failed: bool) -> None:
        if q.version is not None:
            self._versions.ended(q.version, failed=failed, ttft_s=q.row.get("ttft_s"), tpot_s=q.row.get("tpot_s"))

    async def _chunks(
        self, response: aiohttp.ClientResponse, reader: StreamReader, q: "_Question", *, began: float, keep: bool
    ) -> bytes:
        """Hand every piece on as it comes; all of them together where they are to be kept."""
        kept: list[bytes] = []
        async for chunk in response.content.iter_any():
            if reader.n_chunks == 0:
                waited = self._clock() - began
                q.row["ttft_s"] = round(waited, 4)
                self.limit.first_token(waited)
                self._let_in()
            out = reader.feed(chunk)
            if out:
                await q.send.more(out)
            if keep:
                kept.append(out)
        if reader.n_tokens > 1 and q.is_stream:
            q.row["tpot_s"] = (self._clock() - began - q.row["ttft_s"]) / (reader.n_tokens - 1)
        rest = reader.end()
        await q.send.end(rest)
        return b"".join([*kept, rest]) if keep else b""


def _who(row: Mapping[str, Any]) -> str:
    """Whose offences count together: a tenant's, or those of an address without a key."""
    tenant = row["tenant"]
    return f"address {row['client']}" if tenant in {None, ANONYMOUS} else f"tenant {tenant}"


def _penalty(refused: Refused) -> Denied:
    return Denied(429, "penalty", "Too many bad requests came from here.", retry_after_s=refused.retry_after_s)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    found = dict(scope["headers"])
    if sum(len(k) + len(v) for k, v in scope["headers"]) > MOST_HEADERS_BYTES:
        raise Denied(431, "headers_too_large", f"The headers have more than {MOST_HEADERS_BYTES} bytes.")
    return found


def _error_event(text: str) -> bytes:
    return b"data: " + json.dumps({"error": {"message": text, "code": "upstream_died"}}).encode() + b"\n\n"
