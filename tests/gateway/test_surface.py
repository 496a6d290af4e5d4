"""What of the gateway is open to whom: operators' paths, forwarded addresses, wrong keys, connections that stay silent, and configurations."""

import asyncio
import contextlib
import socket

import aiohttp
import pytest
import uvicorn
from support.manual_clock import ManualClock
from support.openai_upstream import Upstream, gateway_to, in_a_loop, until, upstream

from workbench.core.errors import InvalidSpec
from workbench.gateway import serving
from workbench.gateway.access import KeyDoor, client_address
from workbench.gateway.app import Gateway
from workbench.gateway.asgi import Denied, HttpScope
from workbench.gateway.config import config_of, key_digest
from workbench.gateway.serving import reload_config, timed_protocol

KEY, ADMIN = "a-key-of-a-tenant-0001", "a-key-of-an-operator-01"
TENANT = [{"name": "a", "key_digest": key_digest(KEY)}]
UPSTREAM = [{"name": "a", "url": "http://b"}]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def status_of(gateway, path, key=None, **headers):
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession() as session, session.get(gateway.url + path, headers=headers) as response:
        return response.status


def test_operators_need_a_key_or_are_on_this_machine_where_there_are_no_keys():
    async def work():
        async with gateway_to(Upstream()) as gateway:
            assert await status_of(gateway, "/metrics") == 200
        async with gateway_to(Upstream(), tenants=TENANT) as gateway:
            assert await status_of(gateway, "/metrics", KEY) == 403
            assert await status_of(gateway, "/v1/models") == 401
            assert await status_of(gateway, "/v1/models", KEY) == 200
        async with gateway_to(Upstream(), tenants=TENANT, admin={"key_digest": key_digest(ADMIN)}) as gateway:
            statuses = [await status_of(gateway, "/metrics", key) for key in (None, KEY, ADMIN)]
            assert statuses == [401, 401, 200]
            assert await status_of(gateway, "/rollout") == 401
        async with gateway_to(Upstream(), admin={"port": 9}) as gateway:
            assert await status_of(gateway, "/metrics") == 404
            gateway.url = "http://127.0.0.1:0"
            sent = []

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "method": "GET", "path": "/metrics"}
            await serving._Operators(gateway)(scope, None, send)
            assert sent[0]["status"] == 200

    in_a_loop(work)


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("127.0.0.1", "6.6.6.6", [], "127.0.0.1"),
        ("9.9.9.9", "6.6.6.6", ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", "6.6.6.6, 7.7.7.7, 10.1.1.1", ["10.0.0.0/8"], "7.7.7.7"),
        ("::ffff:10.0.0.1", "7.7.7.7", ["10.0.0.0/8"], "7.7.7.7"),
        ("10.0.0.1", "7.7.7.7, nonsense", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "", ["10.0.0.1"], "10.0.0.1"),
    ],
)
def test_forwarded_addresses_are_believed_of_named_proxies(peer, forwarded, trusted, address):
    headers = ((b"x-forwarded-for", forwarded.encode()),) if forwarded else ()
    scope = HttpScope(method="GET", path="/", headers=headers, client=(peer, 1))
    assert client_address(scope, trusted) == address


def test_an_address_that_tries_keys_has_to_wait_and_running_clients_there_have_not():
    clock = ManualClock()
    door = KeyDoor(config_of({"upstreams": UPSTREAM, "tenants": TENANT}), clock=clock)

    def tried(key, address="1.1.1.1"):
        try:
            door.tenant({b"authorization": b"Bearer " + key.encode()}, address)
        except Denied as denied:
            return denied.status
        return 200

    assert tried(KEY) == 200
    statuses = [tried(f"wrong-{i}") for i in range(20)]
    assert set(statuses[:10]) == {401}
    assert set(statuses[-5:]) == {429}
    assert tried(KEY) == 200
    assert tried(KEY, "2.2.2.2") == 200
    for i in range(15):
        tried("wrong", f"2001:db8::{i:x}")
    assert tried(KEY, "2001:db8::ffff") == 429  # one network of IPv6 is one client
    clock.now += 600
    assert tried(KEY, "2001:db8::ffff") == 200


HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.asynccontextmanager
async def timed(header_timeout_s, most_waiting=100):
    """The address of a gateway with time-outs of connections, and the connections that wait."""
    app = Gateway(config_of({"upstreams": UPSTREAM, "health_every_s": 0}))
    http = timed_protocol(header_timeout_s, most_waiting=most_waiting)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", http=http, timeout_keep_alive=1))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname(), http.all_waiting
    finally:
        server.should_exit = True
        await task


@pytest.mark.parametrize("sent", [b"", HEALTH[:31] + b"X-Slow: ", HEALTH + HEALTH[:7]])
def test_connections_without_whole_headers_are_closed(sent):
    async def work():
        async with timed(0.3) as (address, waiting):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(sent)
            async with asyncio.timeout(60):
                answer = await reader.read()
            assert (b"200 OK" in answer) == (b"\r\n\r\n" in sent)
            assert not waiting
            writer.close()

    in_a_loop(work)


CHUNKED = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "lead", [HEALTH[:31] + b"X-Long: ", b"GET /", b"", HEALTH + b"GET /", CHUNKED + b"1\r\na\r\n0\r\nX-Trailer: "]
)
def test_headers_without_an_end_are_closed_before_they_fill_memory(lead):
    filler = b"\r\n" * 2048 if not lead else b"a" * 4096

    async def work():
        async with timed(600.0) as (address, _):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(lead)
            sent = 0
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(60):
                    while sent < 64 * 2**20 and not reader.at_eof():
                        writer.write(filler)
                        sent += len(filler)
                        await writer.drain()
                        await asyncio.sleep(0)
            assert sent < 8 * 2**20  # what the sockets hold, and no more
            writer.close()

    in_a_loop(work)


def test_silent_connections_beyond_the_most_push_out_those_that_wait_longest():
    async def work():
        async with timed(600.0, most_waiting=5) as (address, waiting):
            silent = [await asyncio.open_connection(*address) for _ in range(20)]
            for reader, _ in silent[:15]:
                assert await asyncio.wait_for(reader.read(), 60) == b""
            assert len(waiting) == 5
            reader, writer = await asyncio.open_connection(*address)
            writer.write(HEALTH)
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), 60)
            for _, w in [*silent, (reader, writer)]:
                w.close()

    in_a_loop(work)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"redact": "false"}, "redact"),
        ({"upstreams": [UPSTREAM[0] | {"weight": 0}]}, "weight of a is 0"),
        ({"upstreams": [{"name": "a", "url": "localhost:1"}]}, "url of a"),
        ({"upstreams": [UPSTREAM[0] | {"key_env": "A", "key_file": "b"}]}, "key_env and key_file"),
        ({"tenants": [TENANT[0] | {"weight": float("nan")}]}, "weight of a"),
        ({"tenants": [TENANT[0] | {"tokens_per_s": float("inf")}]}, "tokens_per_s of a"),
        ({"max_waiting": 0}, "max_waiting"),
        ({"deadline_s": -1}, "deadline_s"),
        ({"retry_share": 2}, "retry_share"),
        ({"trusted_proxies": ["here"]}, "trusted_proxies"),
        ({"admin": {"key": "x"}}, "unknown fields key"),
        ({"admin": {"key_digest": "x"}}, "key_digest of the operators"),
        ({"limits": {"max_answer_tokens": 0}}, "max_answer_tokens"),
        ({"limits": {"max_depth": True}}, "max_depth"),
        ({"concurrency": {"target_answer_s": 0}}, "rule"),
    ],
)
def test_configurations_are_checked_by_type_and_bounds(values, message):
    with pytest.raises(InvalidSpec, match=message):
        config_of({"upstreams": UPSTREAM} | values)


def test_a_new_configuration_is_used_and_one_with_an_error_leaves_the_old_one(monkeypatch):
    logged = []
    monkeypatch.setattr(serving.log, "error", lambda text, *parts: logged.append(text % parts))

    async def work():
        async with upstream(Upstream()) as url, gateway_to(Upstream(), tenants=TENANT) as gateway:
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
                await session.post(gateway.url + "/v1/chat/completions", json=CHAT)
            level = dict(gateway.accounts._limits)
            values = {"upstreams": [{"name": "one", "url": url}], "health_every_s": 0, "tenants": TENANT}

            def broken():
                return config_of(values | {"redact": "yes"})

            await reload_config(gateway, broken)
            await reload_config(gateway, lambda: config_of(values | {"admin": {"port": 5}}))
            assert len(logged) == 2
            assert "redact" in logged[0]
            assert not gateway.is_reloaded
            assert await status_of(gateway, "/v1/models", KEY) == 200
            monkeypatch.setattr(serving.log, "warning", lambda *_: None)
            other = [{"name": "b", "key_digest": key_digest(ADMIN)}]
            await reload_config(gateway, lambda: config_of(values | {"tenants": TENANT + other}))
            assert gateway.is_reloaded
            assert await status_of(gateway, "/v1/models", ADMIN) == 200
            assert dict(gateway.accounts._limits) == level  # what was spent stays spent

    in_a_loop(work)


def silent(stack):
    """The URL of a server that accepts connections and never answers."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("how", [{"health_every_s": 0.05, "health_timeout_s": 0.1}, {"first_byte_timeout_s": 0.3}])
def test_a_replica_that_accepts_and_never_answers_is_left(how):
    async def work():
        with contextlib.ExitStack() as stack:
            async with upstream(Upstream()) as url:
                ups = [{"name": "silent", "url": silent(stack)}, {"name": "well", "url": url}]
                values = {"prefix_characters": 0, "upstreams": ups, "breaker": {"least_calls": 2}, "retry_share": 1.0}
                async with gateway_to(Upstream(), **({"health_every_s": 0} | how | values)) as gateway:
                    if "health_every_s" in how:
                        await until(lambda: not gateway.upstreams.health()["silent"])
                        assert gateway.upstreams.health()["well"]
                    async with aiohttp.ClientSession() as session:
                        for _ in range(3):
                            async with session.post(
                                gateway.url + "/v1/chat/completions", json=CHAT | {"stream": True}
                            ) as r:
                                assert r.status == 200
                                assert (await r.read()).endswith(b"[DONE]\n\n")

    in_a_loop(work)


def test_requests_that_clients_gave_up_count_against_a_silent_replica():
    from workbench.gateway.breaker import Breaker, BreakerRule, BreakerState
    from workbench.gateway.replicas import Call, Known
    from workbench.gateway.routing import Replica

    def state_after(waited_s, usual_s=None):
        clock = ManualClock()
        breaker = Breaker(BreakerRule(least_calls=3), clock=clock)
        known = Known(replica=Replica(name="a", url="u"), breaker=breaker, version=None)
        if usual_s is not None:
            known.usual_s[False] = usual_s
        for _ in range(3):
            call = Call(known, breaker.begin(), clock=clock, is_stream=False)
            clock.now += waited_s
            call.end()
        assert known.replica.n_under_way == 0
        return breaker.state

    assert state_after(2.0) is BreakerState.OPEN
    assert state_after(0.2) is BreakerState.CLOSED
    assert state_after(2.0, usual_s=2.0) is BreakerState.CLOSED


def test_whole_answers_have_a_target_of_their_own():
    async def work():
        how = Upstream(delay_s=0.05)
        limits = {"first": 8, "target_ttft_s": 0.001, "target_answer_s": 60.0, "settle_s": 0.001}
        async with gateway_to(how, concurrency=limits) as gateway, aiohttp.ClientSession() as session:
            for is_stream in (False, True):
                for _ in range(3):
                    body = CHAT | {"max_tokens": 1, "stream": is_stream}
                    async with session.post(gateway.url + "/v1/chat/completions", json=body) as r:
                        await r.read()
                assert (gateway.slots.limit.limit < 8) == is_stream

    in_a_loop(work)


def test_a_request_that_is_shed_gives_its_quota_back():
    async def work():
        how = Upstream(delay_s=0.5)
        limits = {"first": 1, "most": 1}
        rates = {"requests_per_s": 1e-6, "requests_at_once": 3, "tokens_per_s": 1e-6, "tokens_at_once": 1e6}
        async with gateway_to(how, concurrency=limits, deadline_s=0.1, anonymous=rates) as gateway:

            async def asked(session):
                async with session.post(gateway.url + "/v1/chat/completions", json=CHAT) as r:
                    return r.status

            async with aiohttp.ClientSession() as session:
                statuses = await asyncio.gather(*(asked(session) for _ in range(3)))
                assert sorted(statuses) == [200, 503, 503]
                how.delay_s = 0
                statuses = [await asked(session) for _ in range(3)]
                assert statuses == [200, 200, 429]  # three of three were spent on what was answered

    in_a_loop(work)
