"""A server that lives as long as a measurement needs it."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from workbench.catalog.paths import located
from workbench.engines.server import ServerRoom, free_port
from workbench.engines.serving import launch_for, with_random_weights

NAME = "model"
"""Name under which the model is served."""
STARTUP_LIMIT_S = 900.0
CACHE_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """A server that answers, with what its launch and its log said."""

    url: str
    version: str | None = None
    """Engine with its version; None where it does not say."""
    startup_s: float | None = None
    """From the start of its process until it was healthy; None where it was there already."""
    cache_tokens: int | None = None
    """Tokens of its KV cache, by its log; None where the log does not say."""
    pid: int | None = None
    log: str | None = None


@contextmanager
def hosted(
    engine: str,
    model: str,
    *,
    folder: Path,
    device: str,
    extra: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    random_weights: bool = False,
    ending: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Hosted]:
    """Give a server of an engine with further flags, and end it afterwards.

    Args:
        engine: One that can be started on this machine.
        model: A folder, or what else the engine takes.
        folder: For its log.
        device: "cpu" or "cuda".
        extra: Flags beside the model and its address.
        variables: Environment variables beside those of the engine.
        random_weights: Whether the model gets random weights.
        ending: Makes what is entered while the server is ended.

    Raises:
        NotAvailable: The engine is not installed, or does not run on this device.
        ServerFailed: It did not come up.
    """
    cache = Path(platformdirs.user_cache_dir("inference-workbench"))
    if random_weights:
        model = str(with_random_weights(Path(located(model)), cache=cache / "random", tell=lambda _: None))
    room, port = ServerRoom(folder), free_port()
    launch = launch_for(
        engine,
        model,
        name=NAME,
        port=port,
        device=device,
        cache=cache / "onnx",
        tell=lambda _: None,
        extra=tuple(extra),
    )
    started = time.monotonic()
    card = room.start(
        launch.command,
        engine=engine,
        model=NAME,
        port=port,
        environment={**launch.variables, **(variables or {})},
        timeout_s=STARTUP_LIMIT_S,
        tell=lambda _: None,
        ends_with_us=True,
    )
    startup_s = time.monotonic() - started
    try:
        said = CACHE_TOKENS.findall(Path(card.log).read_text(encoding="utf-8", errors="replace"))
        yield Hosted(
            url=card.url,
            version=launch.version,
            startup_s=startup_s,
            cache_tokens=int(said[-1].replace(",", "")) if said else None,
            pid=card.pid,
            log=card.log,
        )
    finally:
        with ending():
            room.stop(card)
