"""The gateway in a process of its own, as experiments put it before their servers."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.engines.server import ServerRoom, free_port

NO_LIMIT = 1e9
ANYBODY = {f"{what}_{how}": NO_LIMIT for what in ("requests", "tokens") for how in ("per_s", "at_once")}
"""Limits of those without a key that limit nothing."""
START_TIMEOUT_S = 60.0


@contextmanager
def gateway_before(room: ServerRoom, folder: Path, told: Mapping[str, Any], *, name: str = "gateway") -> Iterator[str]:
    """Serve a configuration until the block ends; gives the URL.

    Args:
        room: Starts and stops it.
        folder: Keeps its configuration.
        told: The configuration as plain values, ``upstreams`` included.
        name: Of the file.
    """
    port = free_port()
    file = folder / f"{name}.toml"
    file.write_text(as_toml(told))
    card = room.start(
        [sys.executable, "-m", "workbench.cli", "gateway", "--config", str(file), "--port", str(port)],
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


def as_toml(told: Mapping[str, Any]) -> str:
    """A configuration as TOML: plain values first, then tables and lists of tables."""
    lines = [f"{k} = {json.dumps(v)}" for k, v in told.items() if not _is_table(v)]
    for name, value in told.items():
        if _is_table(value):
            for part in value if isinstance(value, list) else [value]:
                lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
                lines += [f"{k} = {json.dumps(v)}" for k, v in part.items()]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))
