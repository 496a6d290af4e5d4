"""One request on its way: reserved, queued, forwarded, metered while it is answered, settled, and cached where it may be."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import aiohttp

from workbench.gateway.abuse import AbuseWatch
from workbench.gateway.access import ANONYMOUS
from workbench.gateway.accounts import Accounts, Charge
from workbench.gateway.answer_cache import AnswerCache
from workbench.gateway.answers import StreamReader
from workbench.gateway.asgi import Denied, Sender
from workbench.gateway.audit import LogEntry
from workbench.gateway.config import GatewayConfig, Tenant
from workbench.gateway.degradation import Ladder, degrade_request
from workbench.gateway.outcome import AnswerCheck, OutcomeWatch
from workbench.gateway.replicas import Call
from workbench.gateway.slots import Slots
from workbench.gateway.token_bucket import Clock
from workbench.gateway.token_estimates import TokenEstimates
from workbench.gateway.upstreams import Begun, UpstreamFailed, Upstreams
from workbench.gateway.usage import UsageMeter
from workbench.gateway.validation import CheckedRequest

PASSED = ("retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "content-encoding")
"""Headers of a server that its client gets."""
SHED = frozenset({429, 503})
PASSED_UP = (b"traceparent", b"tracestate", b"accept-language")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A validated request, and where its answer goes."""

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

    @property
    def payer(self) -> str:
        """Whose budget pays: the tenant's, or that of an address without a key."""
        return self.entry.client if self.tenant.name == ANONYMOUS else self.tenant.name

    @property
    def most_tokens(self) -> float:
        """Largest number of tokens that the request can cost."""
        return float(self.asked.n_prompt_tokens + self.asked.n_answer_tokens)


class Relay:
    """Forwards requests to the servers."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        clock: Clock,
        upstreams: Upstreams,
        accounts: Accounts,
        slots: Slots,
        cache: AnswerCache | None,
        abuse: AbuseWatch,
    ) -> None:
        self._config, self._clock, self._upstreams = config, clock, upstreams
        self._accounts, self._slots, self._cache, self._abuse = accounts, slots, cache, abuse
        self._ladder = Ladder(config.degradation, clock=clock)
        self._estimates = TokenEstimates(upstreams)
        self._settling: set[asyncio.Task[None]] = set()
        self._n_under_way = 0
        self._idle = asyncio.Event()

    @property
    def n_rungs(self) -> int:
        """Rungs of the degradation ladder that are active now."""
        return self._ladder.n

    async def drained(self) -> None:
        """Return when no request is forwarded."""
        if self._n_under_way:
            await self._idle.wait()

    async def send_cached(self, q: Question, body: bytes) -> None:
        """Answer from the cache; the rate of requests counts it where the configuration says so."""
        if self._config.count_cache_hits:
            charge = await self._accounts.reserve(q.tenant, q.payer, 0.0)
            await charge.settle(0.0)
        q.entry.cached = True
        kind = "text/event-stream" if q.is_stream else "application/json"
        await q.send.begin(200, kind, more=q.reply_headers)
        await q.send.end(body)

    async def forward(self, q: Question, key: str | None) -> None:
        """Forward a request to a server, and cache the answer under a key where there is one."""
        rung = self._ladder.rung(self._slots.wait_s) if q.asked.n_answer_tokens else None
        less = degrade_request(q.body, rung) if rung is not None else None
        if rung is not None and less is not None:
            q, key = replace(q, body=less), None
            q.entry.degraded = rung.label
        charge = await self._accounts.reserve(q.tenant, q.payer, q.most_tokens)
        answer = _Answer(q, clock=self._clock, redact=self._config.redact, keeps=key is not None)
        self._n_under_way += 1
        self._idle.clear()
        try:
            async with self._slots.hold(q.tenant, q.most_tokens):
                if q.is_stream:
                    await self._relay(q, key, answer)
                else:
                    await self._relay_whole(q, key, answer)
        finally:
            self._n_under_way -= 1
            if not self._n_under_way:
                self._idle.set()
            # A client that leaves pays for the tokens so far; its task is cancelled, and the settlement must not be.
            task = asyncio.create_task(self._settle(q, charge, answer))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
            await asyncio.shield(task)

    async def _settle(self, q: Question, charge: Charge, answer: "_Answer") -> None:
        """Charge what a request has cost: by the usage that the server reported, or the best estimate of it."""
        meter = answer.meter
        is_left = answer.was_cancelled and answer.status in {0, 200}
        if not (200 <= answer.status < 300 or is_left):
            is_answered = answer.status and answer.status not in SHED and answer.status < 500
            await (charge.settle(0.0) if is_answered else charge.refund())
            return
        unanswered_s = None
        if is_left and not q.is_stream and not meter.is_complete and answer.sent_at is not None:
            unanswered_s = self._clock() - answer.sent_at
        usage = await self._estimates.completed(q.asked, meter, version=q.entry.version, unanswered_s=unanswered_s)
        prompt, n_answer = usage.prompt or 0, usage.answer or 0
        await charge.settle(float(prompt + n_answer) if q.asked.endpoint.is_charged else 0.0)
        q.entry.prompt_tokens, q.entry.answer_tokens = prompt, n_answer
        if meter.n_chunks:
            took_s = self._clock() - answer.sent_at if answer.sent_at is not None and not q.is_stream else None
            self._estimates.learn(q.asked.request.model, meter.usage, meter, took_s=took_s)
            self._abuse.record(q.payer, "\n".join(q.asked.texts), answer_tokens=n_answer)
        self._record(q)

    def _record(self, q: Question) -> None:
        """Note how fast a stream was."""
        entry = q.entry
        n = entry.answer_tokens or 0
        if n > 1 and q.is_stream and entry.ttft_s is not None and entry.streamed_s is not None:
            entry.tpot_s = entry.streamed_s / (n - 1)

    async def _relay_whole(self, q: Question, key: str | None, answer: "_Answer") -> None:
        """Relay a whole answer; where its client leaves, await it for a bounded time, because only its end says what it has cost."""
        relaying = asyncio.create_task(self._relay(q, key, answer))
        try:
            await asyncio.shield(relaying)
        except asyncio.CancelledError:
            answer.was_cancelled = True
            q.watch.abandoned()
            if answer.call is not None:
                answer.call.abandoned()
            await asyncio.wait({relaying}, timeout=self._config.abandoned_answer_s)
            raise
        finally:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)

    async def _relay(self, q: Question, key: str | None, answer: "_Answer") -> None:
        """Send a request to a replica and relay its answer."""
        beginning = q.asked.texts[0][: self._config.prefix_characters] if q.asked.texts else ""
        up = {"content-type": "application/json", "x-request-id": q.entry.id}
        up |= {name.decode(): q.headers[name].decode("latin-1") for name in PASSED_UP if name in q.headers}
        answer.sent_at = self._clock()
        try:
            with q.watch:
                async with self._upstreams.answer(
                    q.asked.endpoint.path,
                    q.body,
                    up,
                    beginning=beginning,
                    version=q.entry.version,
                    is_stream=q.is_stream,
                    calling=answer.calls,
                ) as begun:
                    response = begun.response
                    answer.status = response.status
                    q.watch.begins(response.status, response.headers, str(response.url.origin()))
                    if response.status in SHED:
                        self._slots.limit.overloaded()
                    kind = response.headers.get("content-type", "application/json")
                    answer.begins(is_stream="event-stream" in kind)
                    passed = {name: response.headers.get(name) for name in PASSED}
                    await q.send.begin(response.status, kind, more={**passed, **q.reply_headers})
                    await self._chunks(begun, q, answer)
                    if key is not None and self._cache is not None and answer.may_be_kept:
                        self._cache.put(key, b"".join(answer.kept))
        except UpstreamFailed as error:
            answer.status = error.status
            raise Denied(error.status, "upstream", error.cause, retry_after_s=error.retry_after_s) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            q.entry.code = "upstream_died"
            if not q.send.has_begun:
                raise Denied(502, "upstream", f"The server failed: {type(error).__name__}.") from error
            await q.send.end(_error_event("The server behind the gateway failed before its answer was complete."))
        except asyncio.CancelledError:
            answer.was_cancelled = True
            raise

    async def _chunks(self, begun: Begun, q: Question, answer: "_Answer") -> None:
        """Relay every chunk as it arrives, and adjust the concurrency limit to the first token, or to the whole answer."""
        began = answer.sent_at or self._clock()
        async for chunk in begun.chunks():
            q.watch.feed(chunk)
            out = answer.feed(chunk)
            if q.entry.ttft_s is None and answer.has_content:
                ttft_s = self._clock() - began
                q.entry.ttft_s = round(ttft_s, 4)
                if 200 <= answer.status < 300:
                    self._slots.limit.first_token(ttft_s)
                    self._slots.let_in()
            if out:
                await q.send.more(out)
        rest = answer.end()
        took_s = self._clock() - began
        if q.entry.ttft_s is not None:
            q.entry.streamed_s = took_s - q.entry.ttft_s
        elif 200 <= answer.status < 300 and q.asked.n_answer_tokens:
            self._slots.limit.whole_answer(took_s)
            self._slots.let_in()
        q.watch.ended()
        await q.send.end(rest)


class _Answer:
    """Answer of a server on its way to the client."""

    def __init__(self, q: Question, *, clock: Clock, redact: bool, keeps: bool) -> None:
        self._q, self._clock, self._redact, self._keeps = q, clock, redact, keeps
        self.status = 0
        self.sent_at: float | None = None
        self.was_cancelled = False
        self.call: Call | None = None
        self.kept: list[bytes] = []
        self.begins(is_stream=q.is_stream)

    def calls(self, call: Call) -> None:
        """Note the call that is made for the answer."""
        self.call = call

    def begins(self, *, is_stream: bool) -> None:
        """Note how the server answers: a stream, or a whole."""
        self._is_stream = is_stream
        self.meter = UsageMeter(is_stream=is_stream, hides_usage=not self._q.asked.wants_usage)
        self._reader = StreamReader(redact=self._redact, is_stream=is_stream)
        self._check = AnswerCheck(is_stream=is_stream)

    @property
    def has_content(self) -> bool:
        """Whether the first content of a stream has arrived."""
        return self._is_stream and self.meter.n_pieces > 0

    @property
    def may_be_kept(self) -> bool:
        """Whether the answer is whole, usable and without an error."""
        return self.status == 200 and self._check.is_usable() and self.meter.is_complete and not self.meter.is_error

    def feed(self, chunk: bytes) -> bytes:
        """Return what is to be forwarded after one more chunk."""
        return self._out(chunk, self._reader.feed(self.meter.feed(chunk)))

    def end(self) -> bytes:
        """Return what was held back until the end."""
        rest = self.meter.end()
        return self._out(b"", (self._reader.feed(rest) if rest else b"") + self._reader.end())

    def _out(self, chunk: bytes, out: bytes) -> bytes:
        if self._keeps:
            self._check.feed(chunk)
            self.kept.append(out)
        return out


def _error_event(text: str) -> bytes:
    return b"data: " + json.dumps({"error": {"message": text, "code": "upstream_died"}}).encode() + b"\n\n"
