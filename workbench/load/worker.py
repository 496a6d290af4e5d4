"""The process that sends: ``python -m workbench.load.worker`` reads jobs as JSON lines and answers with JSON lines."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import uvloop

from workbench.load.generator import Driver
from workbench.load.messages import Message, SendingJob

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _write(out: BinaryIO, message: Message) -> None:
    out.write(msgspec.json.encode(message) + b"\n")
    out.flush()


async def _carry_out(job: SendingJob, out: BinaryIO) -> None:
    driver = Driver(job, lambda progress: _write(out, Message(progress=progress)))
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), driver.stop)  # anything said while a load runs, or the end of input, stops it
    for number in STOPPING:
        loop.add_signal_handler(number, driver.stop)
    try:
        result = await driver.run()
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
        loop.remove_reader(sys.stdin.fileno())
        os.set_blocking(sys.stdin.fileno(), True)  # uvloop leaves it non-blocking
    _write(out, Message(result=result))


def main() -> None:
    """Serve jobs until the input ends."""
    out = sys.stdout.buffer
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # where it may: a client that waits for a processor measures itself
    _write(out, Message())
    for line in _lines(sys.stdin.fileno()):
        if line.strip():
            with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
                uvloop.run(_carry_out(msgspec.json.decode(line, type=SendingJob), out))


def _lines(descriptor: int) -> Iterator[bytes]:
    """Yield lines as they come; nothing is read ahead of a line, so that whatever follows it stops the load."""
    parts: list[bytes] = []
    while data := os.read(descriptor, 1 << 20):
        *whole, rest = data.split(b"\n")
        for piece in whole:
            yield b"".join([*parts, piece])
            parts = []
        if rest:
            parts.append(rest)


if __name__ == "__main__":
    main()
