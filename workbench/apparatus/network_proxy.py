"""A way to a server that is worse than loopback: later, lossy, or refusing some requests. In a process of its own.

Needs no rights, unlike the kernel's netem. A lost packet is played as TCP shows it to a program: what was lost comes a retransmission timeout
later, and what was sent after it waits behind it.
"""

import argparse
import asyncio
import json
import random
import re
import sys
from dataclasses import asdict, dataclass, fields

from workbench.apparatus.child_process import ChildProcess

CHUNK = 1 << 16
LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([0-9]+)", re.IGNORECASE)
REFUSED = b'{"error": {"message": "upstream connect error or disconnect/reset before headers", "code": 503}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What happens between client and server."""

    delay_s: float = 0.0
    """Each way."""
    loss: float = 0.0
    """Share of writes that are lost once."""
    retransmit_s: float = 0.25
    refused: float = 0.0
    """Share of questions (POST under /v1) that get status 503 and never reach the server."""
    seed: int = 0


class NetworkProxy(ChildProcess):
    """Starts the proxy on a free port; ends with the ``with`` block or with its parent.

    Args:
        port: Of the server, on this machine.
        way: What to do to it.
    """

    def __init__(self, port: int, way: Way) -> None:
        super().__init__("workbench.apparatus.network_proxy", str(port), json.dumps(asdict(way)))
        self.url = f"http://127.0.0.1:{int(self.first_line)}"

    def counts(self) -> dict[str, int]:
        """Return the numbers of writes, lost writes, requests and refused requests so far."""
        counted: dict[str, int] = json.loads(self.asked(b"counts"))
        return counted


class _Proxy:
    def __init__(self, port: int, way: Way) -> None:
        self.port, self.way = port, way
        self.rng = random.Random(way.seed)
        self.counts = {"writes": 0, "lost": 0, "questions": 0, "refused": 0}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the connection of one client."""
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.close()
            return
        both = (
            asyncio.create_task(self._questions(reader, writer, up_writer)),
            asyncio.create_task(self._pump(up_reader, writer)),
        )
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            for end in (writer, up_writer):
                end.close()

    async def _questions(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: asyncio.StreamWriter
    ) -> None:
        """Forward whole requests, so that some can be refused."""
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
                return
            length = LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            if head.startswith(b"POST /v1"):
                self.counts["questions"] += 1
                if self.rng.random() < self.way.refused:
                    self.counts["refused"] += 1
                    await asyncio.sleep(2 * self.way.delay_s)
                    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                    writer.write(answer + b"Content-Length: %d\r\n\r\n" % len(REFUSED) + REFUSED)
                    continue
            await asyncio.sleep(self._wait())
            upstream.write(head + body)

    def _wait(self) -> float:
        self.counts["writes"] += 1
        lost = self.rng.random() < self.way.loss
        self.counts["lost"] += lost
        return self.way.delay_s + (self.way.retransmit_s if lost else 0.0)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward an answer; order is kept, so that what follows a lost write waits for it."""
        loop = asyncio.get_running_loop()
        due = 0.0
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                at, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, at - loop.time()))
                if not data:
                    return
                writer.write(data)

        arriving = asyncio.create_task(arrive())
        try:
            while True:
                data = await reader.read(CHUNK)
                due = max(due, loop.time() + self._wait())
                on_the_way.put_nowait((due, data))
                if not data:
                    await arriving
                    return
        finally:
            arriving.cancel()


async def _main(port: int, way: Way) -> None:
    proxy = _Proxy(port, way)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=64 << 20)

    def say(what: object) -> None:
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()

    say(server.sockets[0].getsockname()[1])
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        say(json.dumps(proxy.counts))


def main() -> None:
    """Serve until the parent is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("way", help=f"JSON with any of {', '.join(f.name for f in fields(Way))}")
    asked = parser.parse_args()
    asyncio.run(_main(asked.port, Way(**json.loads(asked.way))))


if __name__ == "__main__":
    main()
