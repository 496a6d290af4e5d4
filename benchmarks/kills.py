"""A gateway that is killed at random moments while requests run: whether any is charged twice, and whether evidence of a rollout is lost.

    python benchmarks/kills.py [--kills 50] [--clients 4] [--seed 0]

Needs ``redis-server``, in which budgets outlive the gateway. Every request comes from a loopback address of its own (as Linux allows), and so pays
from a bucket of its own: what it was charged is read from there afterwards. A request whose answer arrived whole costs what the server reported, or, where
the kill fell between answer and settlement, what was reserved; a request that was cut costs at most what was reserved. The journal of the rollout
must hold every answer that arrived whole, and the gateway must begin again with all of its evidence.
"""

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

import aiohttp
import redis
import tomli_w

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.rows import plain
from workbench.engines.server import free_port
from workbench.release.canary import Rollout
from workbench.release.journal import Journal, RequestEnded
from workbench.release.rule import CanaryRule

BURST, TOKENS = 1e6, 8
RATES = {"requests_per_s": 1e-6, "requests_at_once": BURST, "tokens_per_s": 1e-6, "tokens_at_once": BURST}
RULE = CanaryRule(least_requests=1_000_000)
FIRST = IPv4Address("127.1.0.1")
CHAT = {"model": "mock", "messages": [{"role": "user", "content": "hi"}], "max_tokens": TOKENS}
CHAT |= {"stream": True, "stream_options": {"include_usage": True}}


class Clients:
    """Clients that ask again and again, and what came of every request by its address."""

    def __init__(self, url: str) -> None:
        self._url, self._numbers = url, count()
        self.costs: dict[str, int | None] = {}
        """Tokens that the answer reported; None where it did not arrive whole."""
        self.is_over, self.may_ask = False, asyncio.Event()

    async def ask(self) -> None:
        """Ask until it is over, from another address each time."""
        while not self.is_over:
            await self.may_ask.wait()
            address = str(FIRST + next(self._numbers))
            self.costs[address] = None
            connector = aiohttp.TCPConnector(local_addr=(address, 0))
            try:
                async with (
                    aiohttp.ClientSession(connector=connector) as session,
                    session.post(f"{self._url}/v1/chat/completions", json=CHAT) as answer,
                ):
                    text = await answer.text()
            except aiohttp.ClientConnectorError:
                del self.costs[address]  # nobody was there
                await asyncio.sleep(0.05)
                continue
            except (aiohttp.ClientError, OSError):
                continue
            if answer.status == 200 and "[DONE]" in text:
                events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
                (self.costs[address],) = (e["usage"]["total_tokens"] for e in events if e.get("usage"))


async def killed(command: list[str], clients: Clients, journal: Path, *, kills: int, n_clients: int, seed: int) -> int:
    """Kill the gateway again and again; return how often it began with other evidence than its journal gives."""
    rng, n_other = random.Random(seed), 0
    asking = [asyncio.create_task(clients.ask()) for _ in range(n_clients)]
    for i in range(kills + 1):
        clients.may_ask.clear()
        before = evidence_in(journal) if i else None
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
        state = await asyncio.to_thread(first_state, command[-1])
        n_other += before is not None and state != before
        clients.may_ask.set()
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        if i == kills:
            clients.is_over = True
            await asyncio.gather(*asking)
            await asyncio.sleep(1)
        process.kill()
        process.wait()
    return n_other


def first_state(port: str) -> object:
    """Return what the gateway knows of the rollout when it begins."""
    for _ in range(1200):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/rollout") as page:
            return json.load(page)
        time.sleep(0.05)
    raise SystemExit("the gateway did not start")


def evidence_in(journal: Path) -> object:
    """Return the state of the rollout that a journal gives."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Journal(Path(shutil.copy(journal, folder)))
        state = Rollout(lines, RULE, versions=("v1", "v2"), set_shares=lambda _: None).state
    return json.loads(json.dumps(plain(state)))


def main() -> None:
    """Print what was charged, and what is on record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mocks = [stack.enter_context(MockProcess(MockSettings(ttft_s=0.05, itl_s=0.01))) for _ in range(2)]
        store, port, journal = free_port(), free_port(), folder / "rollout.journal"
        server = ["redis-server", "--port", str(store), "--save", "", "--dir", str(folder)]
        stack.enter_context(process_of(server))
        values = {
            "upstreams": [{"name": f"v{i}", "version": f"v{i}", "url": m.url} for i, m in enumerate(mocks, 1)],
            "anonymous": RATES,
            "redis": f"redis://127.0.0.1:{store}",
            "rollout": {
                "stable": "v1",
                "canary": "v2",
                "journal": str(journal),
                "least_requests": RULE.least_requests,
            },
        }
        (folder / "gateway.toml").write_bytes(tomli_w.dumps(values).encode())
        command = [sys.executable, "-m", "workbench.app.gateway", "--config", str(folder / "gateway.toml")]
        clients = Clients(f"http://127.0.0.1:{port}")
        work = killed(
            [*command, "--port", str(port)],
            clients,
            journal,
            kills=asked.kills,
            n_clients=asked.clients,
            seed=asked.seed,
        )
        n_other = asyncio.run(work)
        report(clients, redis.Redis(port=store), journal, asked.kills, n_other)


@contextlib.contextmanager
def process_of(command: list[str]) -> Iterator[None]:
    """Run a command until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def report(clients: Clients, store: redis.Redis, journal: Path, kills: int, n_other: int) -> None:
    """Print how every request was charged, and how many are in the journal."""
    charged: dict[str, dict[str, float]] = {"requests": {}, "tokens": {}}
    for key in store.scan_iter("gateway:*:anonymous:*"):
        _, what, _, address = key.decode().split(":")
        charged[what][address] = BURST - float(store.hget(key, "level"))
    whole = {a: cost for a, cost in clients.costs.items() if cost is not None}
    cut = [a for a, cost in clients.costs.items() if cost is None]
    reserved = max(charged["tokens"].values())
    ways: Counter[str] = Counter()
    for address, cost in clients.costs.items():
        n, tokens = round(charged["requests"].get(address, 0.0)), round(charged["tokens"].get(address, 0.0), 1)
        if n > 1 or tokens > reserved:
            ways["twice"] += 1
        elif cost is None:
            ways["cut, charged" if tokens else "cut, not charged"] += 1
        elif abs(tokens - cost) < 0.5:
            ways["whole, as reported"] += 1
        else:
            ways["whole, as reserved" if tokens and n else "whole, not charged"] += 1
    n_lines = sum(isinstance(line, RequestEnded) for line in Journal(journal).lines)
    print(f"{kills} kills; {len(whole)} answers arrived whole, {len(cut)} were cut")
    print(f"each reported {sorted(set(whole.values()))} tokens; most that any address was charged: {reserved:.0f}")
    print("; ".join(f"{way}: {n}" for way, n in sorted(ways.items())))
    print(f"journal: {n_lines} requests ({len(whole) - n_lines if n_lines < len(whole) else 0} whole ones missing)")
    print(f"restarts with other evidence than the journal's: {n_other}")


if __name__ == "__main__":
    main()
