"""A gateway that is flooded with connections, and whether it goes on answering: what real requests wait, what memory it takes, when connections end.

    python benchmarks/floods.py [--connections 5000] [--only slow] [--seconds 20]

Silent: connections that send nothing. Slow: headers that arrive at a byte a second. Huge: headers without an end, as fast as they are taken.
The gateway runs as a process before the built-in mock server, with its defaults, and a stream of 8 tokens is asked for four times a second.
Two processes with all of their connections need twice as many open files: raise ``ulimit -n`` where it is lower.
"""

import argparse
import asyncio
import contextlib
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import aiohttp
import psutil
from gateway import OPEN, started

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.engines.server import free_port

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Long: "
CHAT = {"model": "mock", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "stream": True}


async def silent(_: asyncio.StreamWriter) -> None:
    """Send nothing."""
    await asyncio.sleep(3600)


async def slow(writer: asyncio.StreamWriter) -> None:
    """Send a byte of the headers a second."""
    for byte in HEAD + b"a" * 3600:
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def huge(writer: asyncio.StreamWriter) -> None:
    """Send headers without an end."""
    writer.write(HEAD)
    while True:
        writer.write(b"a" * 16_384)
        await writer.drain()


FLOODS = {"none": None, "silent": silent, "slow": slow, "huge": huge}


class Flood:
    """Connections that are held open, and how long each lasted."""

    def __init__(self, port: int, send) -> None:
        self._port, self._send = port, send
        self.lasted_s: list[float] = []
        self.n_open = self.n_most = self.n_refused = 0

    async def connection(self) -> None:
        """Open one, and hold it until the other side closes it."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self.n_refused += 1
            return
        began = time.monotonic()
        self.n_open += 1
        self.n_most = max(self.n_most, self.n_open)
        sending = asyncio.ensure_future(self._send(writer))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        sending.cancel()
        self.n_open -= 1
        self.lasted_s.append(time.monotonic() - began)
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()

    async def opened(self, n: int) -> None:
        """Open all, two hundred at a time, and hold them."""
        tasks = []
        for _ in range(0, n, 200):
            tasks += [asyncio.create_task(self.connection()) for _ in range(200)]
            await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)


async def asked(url: str, seconds: float) -> tuple[list[float], int]:
    """Return how long real requests took, and how many failed."""
    took, failed, until = [], 0, time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            async with (  # a connection of its own, as a new client has
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
                session.post(f"{url}/v1/chat/completions", json=CHAT) as answer,
            ):
                text = await answer.read()
                failed += answer.status != 200 or b"[DONE]" not in text
        except (aiohttp.ClientError, TimeoutError):
            failed += 1
        took.append(time.monotonic() - began)
        await asyncio.sleep(max(0.0, 0.25 - took[-1]))
    return took, failed


def asked_alone(url: str, seconds: float) -> tuple[list[float], int]:
    """Ask in this process."""
    return asyncio.run(asked(url, seconds))


async def flooded(name: str, n: int, seconds: float, port: int, process: psutil.Process) -> str:
    """Return a line on one flood."""
    most_bytes, is_over = 0, False

    async def watch() -> None:
        nonlocal most_bytes
        while not is_over:
            most_bytes = max(most_bytes, process.memory_info().rss)
            await asyncio.sleep(0.1)

    before = process.memory_info().rss
    watching = asyncio.create_task(watch())
    flood = Flood(port, FLOODS[name])
    opening = asyncio.create_task(flood.opened(n)) if FLOODS[name] else None
    with ProcessPoolExecutor(1) as pool:  # the flood must not slow down what measures
        asking = pool.submit(asked_alone, f"http://127.0.0.1:{port}", seconds)
        took, failed = await asyncio.wrap_future(asking)
    if opening is not None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(opening, 60)
        await asyncio.sleep(1)
    left = sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in process.net_connections("tcp"))
    is_over = True
    await watching
    took.sort()
    at = lambda share: 1e3 * took[min(len(took) - 1, int(share * len(took)))]  # noqa: E731
    line = f"{name}: {len(took)} requests, {failed} failed, p50 {at(0.5):.0f} ms, p99 {at(0.99):.0f} ms, longest {1e3 * took[-1]:.0f} ms"
    line += f"; memory {before / 2**20:.0f} MiB before, {most_bytes / 2**20:.0f} MiB at most"
    if flood.lasted_s:
        lasted = sorted(flood.lasted_s)
        line += f"; {len(lasted)} connections closed ({flood.n_refused} refused, {flood.n_most} at once), after {lasted[len(lasted) // 2]:.1f} s "
        line += f"(median) and {lasted[-1]:.1f} s (longest); {left} left"
    return line


def main() -> None:
    """Print a line for each flood."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--only", choices=FLOODS, default=None)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked_for = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    with contextlib.ExitStack() as stack:
        mock = stack.enter_context(MockProcess(MockSettings(ttft_s=0.05, itl_s=0.01)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in FLOODS if asked_for.only is None else ("none", asked_for.only):
            port = free_port()
            (folder / "gateway.toml").write_text(f'[[upstreams]]\nname = "mock"\nurl = "{mock.url}"\n{OPEN}')
            command = [sys.executable, "-m", "workbench.app", "gateway", "--config", str(folder / "gateway.toml")]
            with started([*command, "--port", str(port)], f"http://127.0.0.1:{port}/health"):
                (process,) = (p for p in psutil.Process().children() if str(port) in p.cmdline())
                flood = flooded(name, asked_for.connections, asked_for.seconds, port, process)
                print(asyncio.run(flood), flush=True)


if __name__ == "__main__":
    main()
