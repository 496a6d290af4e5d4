"""``workbench serve`` and ``workbench engines``: install, start, list and stop serving engines."""

import json
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import platformdirs
import typer

from workbench.cli.readable import ReadableErrors, err
from workbench.engines import environments
from workbench.engines.server import ServerFailed, ServerRoom
from workbench.experiments.serving import launch_for
from workbench.jobs.manager import workbench_home
from workbench.telemetry.devices import chosen_device

app = typer.Typer(help="Serving engines: install, list, stop.", no_args_is_help=True)


def _tell(text: str) -> None:
    err.print(text, highlight=False)


@app.command()
def install(engine: str) -> None:
    """Install an engine into an environment of its own (vllm)."""
    with ReadableErrors():
        found = environments.install(engine, device=chosen_device("auto").kind, tell=_tell)
        print(f"{found.engine} {found.version}")


@app.command()
def remove(engine: str) -> None:
    """Delete an engine's environment."""
    environments.remove(engine, device=chosen_device("auto").kind)


@app.command("list")
def list_servers(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Servers that `workbench serve` started and that still run."""
    cards = ServerRoom(workbench_home()).cards()
    if as_json:
        print(json.dumps([asdict(c) for c in cards], indent=1))
        return
    for card in cards:
        print(f"{card.name}  {card.url}  {card.model}  pid {card.pid}")


@app.command()
def stop(name: str) -> None:
    """End a server; `list` shows their names."""
    with ReadableErrors():
        room = ServerRoom(workbench_home())
        room.stop(room.get(name))


def serve(
    model: Annotated[str, typer.Argument(help="Folder with a transformers model, or (vllm) a hub id.")],
    engine: Annotated[str, typer.Option(help="vllm, torch or onnx.")] = "vllm",
    port: Annotated[int, typer.Option(help="Port on localhost.")] = 8000,
    name: Annotated[str | None, typer.Option(help="Name to serve it under; the folder's name if left out.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    wait: Annotated[float, typer.Option(help="Most seconds until it answers.")] = 600.0,
    detach: Annotated[bool, typer.Option(help="Come back when it answers and leave it running.")] = False,
    extra: Annotated[list[str] | None, typer.Argument(help="After --: further arguments of vLLM.")] = None,
) -> None:
    """Serve a model behind an OpenAI-compatible URL until Ctrl-C."""
    with ReadableErrors():
        kind = chosen_device(device).kind
        served = name or Path(model).name
        room = ServerRoom(workbench_home())
        cache = Path(platformdirs.user_cache_dir("inference-workbench")) / "onnx"
        launch = launch_for(
            engine, model, name=served, port=port, device=kind, cache=cache, tell=_tell, extra=extra or []
        )
        _on_signals()
        started = time.monotonic()
        card = room.start(
            launch.command,
            engine=engine,
            model=served,
            port=port,
            environment=launch.variables,
            timeout_s=wait,
            tell=_tell,
        )
        try:
            _tell(f"{engine} answers after {time.monotonic() - started:.1f} s")
            print(card.url, flush=True)
            _tell(f"Measure it: workbench load {card.url} --model {served}")
            if detach:
                _tell(f"End it: workbench engines stop {card.name}")
                return
            while any(c.pid == card.pid for c in room.cards()):
                time.sleep(0.5)
        except KeyboardInterrupt:
            room.stop(card)
            _tell(f"{card.name} has ended.")
            return
        raise ServerFailed(f"{card.name} ended by itself.", remedy=f"Its log is {card.log}.")


def _on_signals() -> None:
    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, end)
