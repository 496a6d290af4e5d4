"""The gateway in a process of its own, as experiments put it before their servers."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from workbench.engines.server import ServerRoom, free_port

NO_LIMIT = 1e9
ANYBODY = {f"{what}_{how}": NO_LIMIT for what in ("requests", "tokens") for how in ("per_s", "at_once")}
"""Limits of those without a key that limit nothing."""
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayProcess:
    """A gateway that runs, and the file that it reads its configuration from."""

    url: str
    pid: int
    file: Path
    configuration: Mapping[str, object]

    def send_to(self, url: str) -> None:
        """Make one server its only replica while it runs, as operators do: a new file, and SIGHUP."""
        changed = {**self.configuration, "upstreams": [{"name": "engine", "url": url}]}
        self.file.write_bytes(tomli_w.dumps(changed).encode())
        os.kill(self.pid, signal.SIGHUP)


@contextmanager
def gateway_process(
    room: ServerRoom, folder: Path, configuration: Mapping[str, object], *, name: str = "gateway"
) -> Iterator[GatewayProcess]:
    """Serve a gateway configuration until the block ends. Its file stays in the folder."""
    port = free_port()
    file = folder / f"{name}.toml"
    file.write_bytes(tomli_w.dumps(configuration).encode())
    card = room.start(
        [sys.executable, "-m", "workbench.app.gateway", "--config", str(file), "--port", str(port)],
        engine="gateway",
        model="any",
        port=port,
        environment={},
        timeout_s=START_TIMEOUT_S,
        tell=lambda _: None,
        ends_with_us=True,
    )
    try:
        yield GatewayProcess(url=card.url, pid=card.pid, file=file, configuration=configuration)
    finally:
        room.stop(card)


@contextmanager
def gateway_before(
    room: ServerRoom, folder: Path, configuration: Mapping[str, object], *, name: str = "gateway"
) -> Iterator[str]:
    """Serve a gateway configuration until the block ends, and yield its URL. Its file stays in the folder."""
    with gateway_process(room, folder, configuration, name=name) as gateway:
        yield gateway.url
