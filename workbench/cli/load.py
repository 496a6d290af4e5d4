"""``workbench load``: send requests to a server and report what its users would have seen."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from workbench.cli.follow import measured
from workbench.cli.load_tables import load_tables
from workbench.cli.readable import ReadableErrors, err
from workbench.core.load import LoadSpec
from workbench.core.runs import Run
from workbench.engines.http import HttpEngine

out = Console()


def load(
    url: Annotated[str, typer.Argument(help="Base URL of an OpenAI-compatible server.")],
    model: Annotated[
        str | None, typer.Option(help="Name under which it is served; the first that the server lists if left out.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Mean requests per second; the first rate of a ramp.")] = 10.0,
    duration: Annotated[float, typer.Option(help="Seconds during which requests are sent.")] = 30.0,
    input_tokens: Annotated[int, typer.Option(help="Prompt length.")] = 128,
    output_tokens: Annotated[int, typer.Option(help="Answer length.")] = 64,
    arrivals: Annotated[str, typer.Option(help="constant, poisson, gamma, closed, ramp or trace.")] = "poisson",
    end_rate: Annotated[float | None, typer.Option(help="Last rate of a ramp.")] = None,
    gamma_cv: Annotated[float, typer.Option(help="Coefficient of variation of gamma gaps.")] = 2.0,
    concurrency: Annotated[int | None, typer.Option(help="Most requests in flight; users of a closed loop.")] = None,
    trace: Annotated[str | None, typer.Option(help="Azure CSV or JSON lines to replay.")] = None,
    trace_speed: Annotated[float, typer.Option(help="Replays the trace so many times as fast.")] = 1.0,
    endpoint: Annotated[str, typer.Option(help="completions or chat.")] = "completions",
    input_cv: Annotated[float, typer.Option(help="Spread of prompt lengths; 0 is fixed.")] = 0.0,
    output_cv: Annotated[float, typer.Option(help="Spread of answer lengths; 0 is fixed.")] = 0.0,
    turns: Annotated[int, typer.Option(help="Turns of a conversation (chat).")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request is given up.")] = 120.0,
    tokenizer: Annotated[str | None, typer.Option(help="Folder with tokenizer.json.")] = None,
    token_ids: Annotated[bool, typer.Option(help="Send token ids instead of text; needs --tokenizer.")] = False,
    shared_prefix: Annotated[bool, typer.Option(help="Same prompt for all, to measure the prefix cache.")] = False,
    images: Annotated[int, typer.Option(help="Generated pictures in each request (chat).")] = 0,
    image_sizes: Annotated[
        str, typer.Option(help="Height x width, with shares where there are several: 448x448:3,896x1344:1.")
    ] = "448x448",
    image_hits: Annotated[float, typer.Option(help="Share of the pictures that were sent before.")] = 0.0,
    shared_tokens: Annotated[int, typer.Option(help="First tokens that all prompts share, as a system prompt.")] = 0,
    api_key_env: Annotated[str, typer.Option(help="Environment variable with the API key.")] = "OPENAI_API_KEY",
    slo_ttft: Annotated[float | None, typer.Option(help="Promised seconds to the first token, from due.")] = None,
    slo_tpot: Annotated[float | None, typer.Option(help="Promised seconds per further token.")] = None,
    calibrate: Annotated[bool, typer.Option(help="Check the client against the mock server afterwards.")] = True,
    telemetry_hz: Annotated[
        float, typer.Option(help="Samples a second of this machine, its GPUs and the server's counters; 0: none.")
    ] = 0.0,
    server_pid: Annotated[
        int | None, typer.Option(help="The server's process here; the one that listens on the port if left out.")
    ] = None,
    probe: Annotated[
        bool, typer.Option(help="Ask the server alone before: its own speed, and whether it answers the same.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same requests.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure TTFT, time per token, end-to-end latency and goodput of a serving engine."""
    with ReadableErrors():
        spec = LoadSpec(
            url=url,
            model=model or HttpEngine(url, "", api_key_env=api_key_env).models()[0],
            rate_per_s=rate,
            duration_s=duration,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            arrivals=arrivals,  # type: ignore[arg-type]
            end_rate_per_s=end_rate,
            gamma_cv=gamma_cv,
            concurrency=concurrency,
            trace=str(Path(trace).expanduser().resolve()) if trace else None,
            trace_speed=trace_speed,
            endpoint=endpoint,  # type: ignore[arg-type]
            input_cv=input_cv,
            output_cv=output_cv,
            turns=turns,
            timeout_s=timeout,
            tokenizer=tokenizer,
            token_ids=token_ids,
            unique_prefix=not shared_prefix,
            shared_prefix_tokens=shared_tokens,
            n_images=images,
            image_sizes=image_sizes,
            image_hit_fraction=image_hits,
            api_key_env=api_key_env,
            slo_ttft_s=slo_ttft,
            slo_tpot_s=slo_tpot,
            calibrate=calibrate,
            telemetry_hz=telemetry_hz,
            server_pid=server_pid,
            probe=probe,
            seed=seed,
        )
        run = measured("load", spec.to_dict(), can_resume=False)
    if as_json:
        print(json.dumps(load_json(run), indent=1))
    else:
        for part in load_tables(run):
            out.print(part, highlight=False)
    if not run.results:
        for failure in run.failures:
            err.print(f"[bold red]{failure['cause']}[/bold red]\n{failure['remedy']}", highlight=False)
        raise typer.Exit(1)


def load_json(run: Run) -> dict[str, Any]:
    """The documented form: the answers on top, with what is needed to judge them."""
    answers = dict(run.results[0]) if run.results else {}
    return {
        "id": run.id,
        "provenance": run.provenance,
        **answers,
        "failures": list(run.failures),
        "spec": dict(run.spec),
        "environment": asdict(run.environment),
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }
