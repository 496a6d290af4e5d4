"""``workbench serve`` and ``workbench engines``: install, start, list and stop serving engines."""

import json
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import platformdirs
import typer

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located
from workbench.catalog.tables import engines as engine_table
from workbench.cli.follow import measured
from workbench.cli.readable import ReadableErrors, err, numbers
from workbench.cli.runs import summary
from workbench.core.engine_sweep import EngineSweepSpec, engine_label
from workbench.core.errors import NotAvailable
from workbench.core.serving import ServePlan
from workbench.engines import environments
from workbench.engines.recipes import MAKERS, launch_recipe
from workbench.engines.server import ServerFailed, ServerRoom
from workbench.experiments.engine_verdict import engine_verdict, promise_of
from workbench.experiments.serving import launch_for, with_random_weights
from workbench.jobs.manager import workbench_home
from workbench.telemetry.devices import chosen_device

app = typer.Typer(help="Serving engines: install, list, stop.", no_args_is_help=True)


def _tell(text: str) -> None:
    err.print(text, highlight=False)


@app.command()
def install(engine: str) -> None:
    """Install an engine into an environment of its own (vllm, llmcompressor, lm_eval, lmdeploy)."""
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


@app.command()
def recipes(
    model: Annotated[str, typer.Argument(help="Folder or hub id.")],
    engine: Annotated[str | None, typer.Option(help=f"One of {', '.join(MAKERS)}; all if left out.")] = None,
    port: Annotated[int, typer.Option(help="Port of the server.")] = 8000,
    gpus: Annotated[int, typer.Option(help="Tensor-parallel GPUs; 0 is the CPU.")] = 1,
    max_tokens: Annotated[int | None, typer.Option(help="Longest prompt and answer together.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, bfloat16 or float16.")] = "auto",
    kv_cache: Annotated[str, typer.Option(help="auto or fp8.")] = "auto",
) -> None:
    """How to start each serving engine for the same plan, and whether it was started for this workbench."""
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


@app.command()
def compare(
    model: Annotated[str, typer.Argument(help="Folder with a transformers model.")],
    engines: Annotated[
        str, typer.Option(help="Comma-separated: vllm, lmdeploy, torch, onnx, each with settings after it; or URLs.")
    ] = "vllm,torch,onnx",
    input_tokens: Annotated[int, typer.Option(help="Prompt length.")] = 128,
    output_tokens: Annotated[int, typer.Option(help="Answer length.")] = 64,
    start_rate: Annotated[float, typer.Option(help="First rate, requests per second; doubles until it breaks.")] = 1.0,
    max_trials: Annotated[int, typer.Option(help="Most doublings of the rate.")] = 8,
    rates: Annotated[str, typer.Option(help="Comma-separated rates to measure instead of a search.")] = "",
    duration: Annotated[float, typer.Option(help="Seconds a rate.")] = 10.0,
    slo_ttft: Annotated[float, typer.Option(help="Promised seconds to the first token.")] = 0.5,
    slo_tpot: Annotated[float, typer.Option(help="Promised seconds per further token.")] = 0.05,
    attainment: Annotated[float, typer.Option(help="Share of requests for which the promise is kept.")] = 0.9,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    served_model: Annotated[
        str | None, typer.Option(help="Model name at the URLs; the first listed if left out.")
    ] = None,
    random_weights: Annotated[bool, typer.Option(help="Only the shape counts: a config.json is enough.")] = False,
    cluster: Annotated[str | None, typer.Option(help="Ray address: one task for each engine.")] = None,
    cpus: Annotated[float, typer.Option(help="Cores that each task on the cluster asks for.")] = 1.0,
    gpus: Annotated[float, typer.Option(help="GPUs that each task on the cluster asks for.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure which engine sustains the highest rate within a promise."""
    with ReadableErrors():
        spec = EngineSweepSpec(
            model=model,
            engines=tuple(e.strip() for e in engines.split(",") if e.strip()),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            start_rate_per_s=start_rate,
            max_trials=max_trials,
            duration_s=duration,
            slo_ttft_s=slo_ttft,
            slo_tpot_s=slo_tpot,
            attainment_fraction=attainment,
            device=device,  # type: ignore[arg-type]
            rates_per_s=numbers(rates, float),
            served_model=served_model,
            random_weights=random_weights,
            cluster=cluster,
            n_cpus=cpus,
            n_gpus=gpus,
        )
        model_spec_from(model)
        run = measured("engine_sweep", spec.to_dict(), can_resume=True)
    if as_json:
        print(json.dumps(summary(run), indent=1))
        return
    answer = engine_verdict(run, promise_of(run))
    print(f"{answer.headline}\n● {answer.evidence}\nAgainst it: {answer.objection}")
    for row in run.results:
        rates = ", ".join(f"{t['rate_per_s']:.3g}/s {t['attainment_fraction']:.0%}" for t in row["trials"])
        print(f"{engine_label(row['engine'])}: {row['status']} {row['reason'] or ''} {rates}".rstrip())


def serve(
    model: Annotated[str, typer.Argument(help="Folder with a transformers model, or (vllm) a hub id.")],
    engine: Annotated[str, typer.Option(help="vllm, lmdeploy, torch or onnx.")] = "vllm",
    port: Annotated[int, typer.Option(help="Port on localhost.")] = 8000,
    name: Annotated[str | None, typer.Option(help="Name to serve it under; the folder's name if left out.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    wait: Annotated[float, typer.Option(help="Most seconds until it answers.")] = 600.0,
    random_weights: Annotated[bool, typer.Option(help="Only the shape counts: a config.json is enough.")] = False,
    detach: Annotated[bool, typer.Option(help="Come back when it answers and leave it running.")] = False,
    extra: Annotated[list[str] | None, typer.Argument(help="After --: further arguments of vLLM.")] = None,
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
