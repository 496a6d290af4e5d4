"""The gateway in a process of its own, as experiments put it before their servers."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from workbench.engines.server import ServerRoom, free_port

NO_LIMIT = 1e9
ANYBODY = {f"{what}_{how}": NO_LIMIT for what in ("requests", "tokens") for how in ("per_s", "at_once")}
"""Limits of those without a key that limit nothing."""
START_TIMEOUT_S = 60.0


@contextmanager
def gateway_before(
    room: ServerRoom, folder: Path, configuration: Mapping[str, object], *, name: str = "gateway"
) -> Iterator[str]:
    """Serve a gateway configuration until the block ends, and yield its URL. Its file stays in the folder."""
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
        yield f"http://127.0.0.1:{port}"
    finally:
        room.stop(card)
