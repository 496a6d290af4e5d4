"""Limits of several gateways in one Redis, a real server; and what happens when it goes away."""

import asyncio
import hashlib
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.manual_clock import ManualClock
from support.openai_upstream import until
from support.waiting import wait_for

from workbench.engines.server import free_port
from workbench.gateway import shared_limits
from workbench.gateway.shared_limits import RedisLink, SharedLimits, redis_client
from workbench.gateway.token_bucket import Rate, Refused, Reservation

pytest.importorskip("redis")
pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


class Server:
    def __init__(self, folder):
        self.port, self.folder, self.process = free_port(), folder, None
        self.url = f"redis://127.0.0.1:{self.port}"

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(self.answers)

    def answers(self):
        import redis

        try:
            return redis.Redis(port=self.port, socket_timeout=1).ping()
        except redis.ConnectionError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("redis"))
    made.start()
    yield made
    made.stop()


def run(work):
    with ThreadPoolExecutor(1) as thread:  # a browser's loop may run in this one
        return thread.submit(asyncio.run, work()).result()


def limits(server, name, *, link=None, **rate):
    link = link or RedisLink(redis_client(server.url, timeout_s=60), timeout_s=60, quick_s=60)
    return SharedLimits(Rate(**({"per_s": 1.0, "burst": 10.0} | rate)), link=link, name=name, clock=ManualClock())


def test_two_gateways_spend_from_one_bucket(server):
    async def work():
        one, two = (limits(server, "shared", per_s=0.001) for _ in range(2))
        assert isinstance(await one.reserve("a", 6.0), Reservation)
        refused = await two.reserve("a", 6.0)
        assert isinstance(refused, Refused)
        assert 1500 < refused.retry_after_s <= 2000  # two of six are missing
        assert isinstance(await two.reserve("b", 6.0), Reservation)

    run(work)


def test_what_was_not_used_comes_back_to_all(server):
    async def work():
        one, two = limits(server, "settled"), limits(server, "settled")
        taken = await one.reserve("a", 10.0)
        assert isinstance(await two.reserve("a", 5.0), Refused)
        await one.settle(taken, 2.0)
        await one.settle(taken, 0.0)  # a second time does nothing
        assert isinstance(await two.reserve("a", 8.0), Reservation)
        assert isinstance(await two.reserve("a", 1.0), Refused)

    run(work)


def test_many_at_once_never_spend_more_than_there_is(server):
    async def work():
        both = [limits(server, "many", per_s=0.001, burst=15.0) for _ in range(2)]
        got = await asyncio.gather(*(both[i % 2].reserve("a", 1.0) for i in range(60)))
        assert sum(isinstance(g, Reservation) for g in got) == 15

    run(work)


def test_more_than_the_burst_is_never_taken(server):
    async def work():
        refused = await limits(server, "never").reserve("a", 11.0)
        assert refused.retry_after_s is None

    run(work)


def test_without_redis_a_gateway_goes_on_with_limits_of_its_own(tmp_path, monkeypatch):
    gone, told = Server(tmp_path), []
    monkeypatch.setattr(shared_limits.log, "warning", lambda text, *parts: told.append(text % parts))

    async def work():
        link = RedisLink(redis_client(gone.url, timeout_s=60), timeout_s=60, quick_s=60)
        alone = limits(gone, "alone", link=link)
        taken = await alone.reserve("a", 8.0)
        assert isinstance(taken, Reservation)
        assert isinstance(await alone.reserve("a", 8.0), Refused)
        await alone.settle(taken, 0.0)
        gone.start()
        await until(lambda: link.is_up)
        assert isinstance(await alone.reserve("a", 8.0), Reservation)
        assert isinstance(await alone.reserve("a", 8.0), Refused)
        await link.close()

    try:
        run(work)
    finally:
        gone.stop()
    assert len(told) == 1
    assert "Redis does not answer" in told[0]


def test_keys_that_are_full_again_leave_nothing_behind(server):
    import redis

    async def work():
        await limits(server, "left", per_s=0.1, burst=10.0).reserve("a", 10.0)

    run(work)
    assert 0 < redis.Redis(port=server.port).ttl("left:a") <= 102


def test_a_frozen_redis_delays_one_request_and_divides_the_budget_by_the_gateways(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_limits.log, "warning", lambda *_: None)
    frozen = Server(tmp_path)
    frozen.start()
    n_asked = 0

    async def work():
        nonlocal n_asked
        links = [RedisLink(redis_client(frozen.url, timeout_s=60), timeout_s=0.2, quick_s=60) for _ in range(3)]
        for link in reversed(links):
            link.open()
            await until(lambda link=link: link.n_gateways == 3 - links.index(link))
        one = limits(frozen, "frozen", link=links[0], per_s=0.001, burst=9.0)
        frozen.process.send_signal(signal.SIGSTOP)
        links[0]._quick_s = 0.01
        original = links[0]._reserve

        def counted(**what):
            nonlocal n_asked
            n_asked += 1
            return original(**what)

        links[0]._reserve = counted
        got = [await one.reserve("a", 1.0) for _ in range(5)]
        assert [isinstance(g, Reservation) for g in got] == [True] * 3 + [False] * 2  # a third of nine
        assert n_asked == 1
        assert not links[0].is_up
        frozen.process.send_signal(signal.SIGCONT)
        await until(lambda: links[0].is_up)
        assert isinstance(await one.reserve("b", 9.0), Reservation)
        for link in links:
            await link.close()

    try:
        run(work)
    finally:
        frozen.process.send_signal(signal.SIGCONT)
        frozen.stop()


def test_the_first_requests_find_connections_and_scripts(server):
    async def work():
        client = redis_client(server.url, timeout_s=60)
        await client.script_flush()
        link = RedisLink(client, timeout_s=60, quick_s=60)
        await link.warm()
        assert await client.script_exists(hashlib.sha1(shared_limits.RESERVE.encode()).hexdigest()) == [True]
        assert len(await client.client_list()) >= 4
        await link.close()
        nobody = RedisLink(redis_client(f"redis://127.0.0.1:{free_port()}"))
        await nobody.warm()
        await nobody.close()

    run(work)
