"""The gateway in the process of a test, before servers that answer as the test says."""

import asyncio
import contextlib
import json
import random

from aiohttp import web

from workbench.app.canary_versions import CanaryVersions
from workbench.gateway.app import Gateway
from workbench.gateway.config import config_of
from workbench.release.assignment import Assigner
from workbench.release.canary import Rollout
from workbench.release.journal import Journal
from workbench.release.rule import CanaryRule


@contextlib.asynccontextmanager
async def gateway_before(handlers, folder, *, silence_s, **rule):
    """A gateway whose rollout is between two handlers, the old version's first; the rollout is its attribute."""
    runners, upstreams = [], []
    for version, handler in handlers.items():
        app = web.Application()
        app.router.add_post("/v1/completions", _awaited(handler))
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        upstreams.append({"name": version, "version": version, "url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
    many = {"requests_per_s": 1e6, "requests_at_once": 1e6, "tokens_per_s": 1e9, "tokens_at_once": 1e9}
    config = config_of(
        {"upstreams": upstreams, "anonymous": many, "breaker": {"least_calls": 100_000}, "retry_share": 0.0}
    )
    rollout = Rollout(
        Journal(folder / "journal"), CanaryRule(**rule), versions=tuple(handlers), set_shares=lambda shares: None
    )
    gateway = Gateway(
        config, versions=CanaryVersions(Assigner(rollout, salt="s", rng=random.Random(1)), silence_s=silence_s)
    )
    gateway.rollout = rollout
    await gateway.upstreams.open()
    try:
        yield gateway
    finally:
        await gateway.upstreams.close()
        for runner in runners:
            await runner.cleanup()


def _awaited(handler):
    async def answer(request):
        return await handler(request)

    return answer


async def asked(gateway, **body):
    """Status and body of the answer to one request; cancelling this is a client that disconnects."""
    sent, is_gone = [], asyncio.Event()
    raw = json.dumps({"model": "m", "prompt": "Hello", "max_tokens": 4} | body).encode()
    messages = iter([{"type": "http.request", "body": raw, "more_body": False}])

    async def receive():
        if (message := next(messages, None)) is not None:
            return message
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": [], "client": ("127.0.0.1", 1)}
    serving = asyncio.ensure_future(gateway(scope, receive, send))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        is_gone.set()
        await serving
        raise
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent)
