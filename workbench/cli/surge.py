"""Commands for surges: one through the gateway to a real engine, and rules for scaling on real traffic."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.surge import WAYS, SurgeSpec
from workbench.experiments.scaling import ScalingCase, compared

out = Console()
DEFAULTS, CASE = SurgeSpec(model="any"), ScalingCase()


def surge(
    model: Annotated[str, typer.Argument(help="Folder of the model that is served.")] = str(REFERENCE_MODEL),
    engine: Annotated[str, typer.Option(help="torch or vllm.")] = "torch",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    overload: Annotated[float, typer.Option(help="Times what the engine can answer.")] = DEFAULTS.overload,
    seconds: Annotated[float, typer.Option(help="Of the surge.")] = DEFAULTS.surge_s,
    ways: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(WAYS)}; all if left out.")] = "",
    ttft_s: Annotated[float, typer.Option(help="Promise on the first token.")] = DEFAULTS.slo_ttft_s,
    max_num_seqs: Annotated[int, typer.Option(help="Requests that run at once.")] = DEFAULTS.max_num_seqs,
    trace: Annotated[str | None, typer.Option(help="Arrivals of an Azure CSV file.")] = None,
    seed: Annotated[int, typer.Option(help="Of arrivals and prompts.")] = DEFAULTS.seed,
    as_json: AsJson = False,
) -> None:
    """Send more than an engine can answer through the gateway, with each control on and off."""
    with ReadableErrors():
        spec = SurgeSpec(
            model=model,
            engine=engine,  # type: ignore[arg-type]
            device=device,  # type: ignore[arg-type]
            ways=tuple(w.strip() for w in ways.split(",") if w.strip()) or tuple(WAYS),
            overload=overload,
            surge_s=seconds,
            slo_ttft_s=ttft_s,
            max_num_seqs=max_num_seqs,
            trace=trace,
            seed=seed,
        )
        run = measured("surge", spec.to_dict(), can_resume=False)
        if as_json:
            told = {"id": run.id, "spec": dict(run.spec), "results": list(run.results)}
            print(json.dumps(told | {k: run.samples[k] for k in ("capacity", "slo_tpot_s", "flags")}, indent=1))
            return
        out.print(f"It can answer {run.samples['capacity']['requests_per_s']:.1f} requests/s.", highlight=False)
        shown = Table("way", "in time, % of that", "TTFT p99, s", "refused, %", "least of fair, %", "well again, s")
        for r in run.results:
            p99 = "–" if r["ttft_p99_s"] is None else f"{r['ttft_p99_s']:.2f}"
            least = "–" if r["least_of_fair"] is None else f"{100 * r['least_of_fair']:.0f}"
            shares = (f"{100 * r['goodput_fraction']:.0f}", p99, f"{100 * (r['refused_fraction'] or 0):.0f}", least)
            shown.add_row(WAYS[r["way"]], *shares, f"{r['recovery_s']:.1f}")
        out.print(shown)
        out.print(" ".join(f"{k} {v}" for k, v in run.samples["flags"].items()), highlight=False)


def scaling(
    trace: Annotated[str, typer.Option(help="conv, code, or an Azure CSV file.")] = CASE.trace,
    times: Annotated[float, typer.Option(help="So many times the requests.")] = CASE.times,
    start_s: Annotated[float, typer.Option(help="From starting a replica until it answers.")] = CASE.start_s,
    wait_s: Annotated[float, typer.Option(help="Promise: longest wait.")] = CASE.promised_s,
    warm: Annotated[int, typer.Option(help="Warm spares.")] = CASE.warm,
    cached: Annotated[float, typer.Option(help="Share answered from a cache.")] = CASE.cached,
    as_json: AsJson = False,
) -> None:
    """Play rules for scaling over real traffic: minutes with late requests against GPU hours."""
    with ReadableErrors():
        case = ScalingCase(trace=trace, times=times, start_s=start_s, promised_s=wait_s, warm=warm, cached=cached)
        found = compared(case)
        if as_json:
            print(json.dumps({name: p.row() for name, p in found.items()}, indent=1))
            return
        shown = Table("rule", "minutes with late requests", "requests late, %", "GPU hours", "most replicas")
        for name, p in found.items():
            shown.add_row(
                name, f"{p.slo_minutes:.1f}", f"{100 * p.late_fraction:.1f}", f"{p.gpu_hours:.1f}", str(p.most)
            )
        out.print(shown)
