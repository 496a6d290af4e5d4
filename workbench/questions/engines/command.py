"""``workbench serve`` and ``workbench engines``: install, start, list and stop serving engines."""

import json
import signal
import time
from pathlib import Path
from typing import Annotated, NoReturn

import platformdirs
import typer

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located, workbench_home
from workbench.catalog.tables import engines as engine_table
from workbench.core.errors import NotAvailable
from workbench.core.rows import plain
from workbench.core.runs import Run
from workbench.engines import environments
from workbench.engines.recipes import MAKERS, launch_recipe
from workbench.engines.serve_plan import ServePlan
from workbench.engines.server import ServerFailed, ServerRoom
from workbench.engines.serving import launch_for, with_random_weights
from workbench.interface.command import AsJson, measures
from workbench.interface.knobs import named
from workbench.interface.readable import ReadableErrors, err
from workbench.questions.engines.findings import results_under, slo_of, verdict, warning_texts
from workbench.questions.engines.rows import EngineResult
from workbench.questions.engines.spec import EngineSweepSpec, engine_label
from workbench.telemetry.devices import chosen_device

EngineName = Annotated[str, typer.Argument(help="Engine, as `doctor` names it.")]


def _tell(text: str) -> None:
    err.print(text, highlight=False)


def install(engine: EngineName) -> None:
    """Install an engine into an environment of its own (vllm, llmcompressor, lm_eval, lmdeploy)."""
    with ReadableErrors():
        environment = environments.install(engine, device=chosen_device("auto").kind, tell=_tell)
        print(f"{environment.engine} {environment.version}")


def remove(engine: EngineName) -> None:
    """Delete the environment that an engine was installed into."""
    environments.remove(engine, device=chosen_device("auto").kind)


def list_servers(*, as_json: AsJson = False) -> None:
    """List the servers that `workbench serve` started and that still run."""
    cards = ServerRoom(workbench_home()).cards()
    if as_json:
        print(json.dumps(plain(cards), indent=1))
        return
    for card in cards:
        print(f"{card.name}  {card.url}  {card.model}  pid {card.pid}")


def stop(name: Annotated[str, typer.Argument(help="Name of the server, as `engines list` prints it.")]) -> None:
    """Stop a server; `engines list` shows the names."""
    with ReadableErrors():
        room = ServerRoom(workbench_home())
        room.stop(room.get(name))


def recipes(
    model: Annotated[str, typer.Argument(help="Folder of the model, or its hub id.")],
    engine: Annotated[
        str | None, typer.Option(help=f"Engine to print: one of {', '.join(MAKERS)}; all if left out.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port on which the server listens.")] = 8000,
    gpus: Annotated[int, typer.Option(help="Number of GPUs for tensor parallelism; 0 runs on the CPU.")] = 1,
    max_tokens: Annotated[
        int | None, typer.Option(help="Largest number of prompt and output tokens of a request.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Data type of the weights: auto, bfloat16 or float16.")] = "auto",
    kv_cache: Annotated[str, typer.Option(help="Data type of the KV cache: auto or fp8.")] = "auto",
) -> None:
    """Print the launch command of each serving engine for the same plan, and whether it was started for this workbench."""
    with ReadableErrors():
        plan = ServePlan(
            model=model,
            port=port,
            n_gpus=gpus,
            max_tokens=max_tokens,
            dtype=dtype,  # type: ignore[arg-type]
            kv_cache=kv_cache,  # type: ignore[arg-type]
        )
        known = {e.id: e for e in engine_table()}
        for name in [engine] if engine else MAKERS:
            try:
                recipe = launch_recipe(name, plan)
            except NotAvailable as error:
                if engine:
                    raise
                print(f"# {known[name].name}: {error.cause}\n")
                continue
            print(f"# {known[name].name} {recipe.version}; {known[name].started}\n{recipe.text}\n")
        _tell(f"Measure any of them: workbench load http://localhost:{port} --rate 10")


@measures(EngineSweepSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def compare(run: Run) -> None:
    """Measure which engine sustains the highest request rate within an SLO."""
    slo = slo_of(run.asked(EngineSweepSpec))
    answer = verdict(results_under(run, slo), slo)
    print(*answer.lines, sep="\n")
    for r in run.rows(EngineResult):
        rates = ", ".join(f"{t.rate_per_s:.3g}/s {t.attainment_fraction:.0%}" for t in r.trials)
        print(f"{engine_label(r.engine)}: {r.status} {r.reason or ''} {rates}".rstrip())
    for text in warning_texts(run.rows(EngineResult)):
        print(f"▲ {text}")


def serve(
    model: Annotated[str, typer.Argument(help="Folder with a transformers model, or (vllm) a hub id.")],
    engine: Annotated[str, typer.Option(help="Serving engine: vllm, lmdeploy, torch or onnx.")] = "vllm",
    port: Annotated[int, typer.Option(help="Port on localhost at which the server listens.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="Name under which the model is served; the folder's name if left out.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device that runs the model: auto, cpu or cuda.")] = "auto",
    wait: Annotated[float, typer.Option(help="Largest start-up time of the server, in seconds.")] = 600.0,
    random_weights: Annotated[
        bool, typer.Option(help="Use random weights of the model's shape; a config.json is enough.")
    ] = False,
    detach: Annotated[bool, typer.Option(help="Return when the server answers, and leave it running.")] = False,
    extra: Annotated[list[str] | None, typer.Argument(help="Server flags of the engine, after --.")] = None,
) -> None:
    """Serve a model behind an OpenAI-compatible URL until Ctrl-C."""
    with ReadableErrors():
        kind = chosen_device(device).kind
        served = name or Path(model).name
        room = ServerRoom(workbench_home())
        cache = Path(platformdirs.user_cache_dir("inference-workbench"))
        if random_weights:
            model = str(with_random_weights(Path(located(model)), cache=cache / "random", tell=_tell))
        launch = launch_for(
            engine, model, name=served, port=port, device=kind, cache=cache / "onnx", tell=_tell, extra=extra or []
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
                _tell(f"Stop it: workbench engines stop {card.name}")
                return
            while any(c.pid == card.pid for c in room.cards()):
                time.sleep(0.5)
        except KeyboardInterrupt:
            room.stop(card)
            _tell(f"{card.name} has ended.")
            return
        raise ServerFailed(f"{card.name} ended without being stopped.", remedy=f"Its log is {card.log}.")


def _on_signals() -> None:
    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, end)


COMMANDS = (
    compare,
    named("engines install")(install),
    named("engines remove")(remove),
    named("engines list")(list_servers),
    named("engines stop")(stop),
    named("engines recipes")(recipes),
    serve,
)
