"""The process that sends: ``python -m workbench.load.worker`` reads jobs as JSON lines and answers with JSON lines."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import orjson
import uvloop

from workbench.load.generator import Driver


def _write(out: BinaryIO, kind: str, value: Mapping[str, Any]) -> None:
    out.write(orjson.dumps({"kind": kind, "value": value}) + b"\n")
    out.flush()


async def _carry_out(job: Mapping[str, Any], out: BinaryIO) -> None:
    driver = Driver(job, lambda progress: _write(out, "progress", progress))
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), driver.stop)  # anything said while a load runs, or the end of input, stops it
    try:
        result = await driver.run()
    finally:
        loop.remove_reader(sys.stdin.fileno())
        os.set_blocking(sys.stdin.fileno(), True)  # uvloop leaves it non-blocking
    _write(out, "result", result)


def main() -> None:
    """Serve jobs until the input ends."""
    out = sys.stdout.buffer
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # where it may: a client that waits for a processor measures itself
    _write(out, "ready", {})
    buffer = bytearray()
    while True:
        while b"\n" not in buffer:
            data = os.read(sys.stdin.fileno(), 1 << 20)
            if not data:
                return
            buffer += data
        line, _, rest = bytes(buffer).partition(b"\n")
        buffer = bytearray(rest)
        if not line.strip():
            continue
        job = orjson.loads(line)
        uvloop.run(_carry_out(job, out))


if __name__ == "__main__":
    main()
