"""Commands that sample this machine and say where the time of its GPUs goes."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.paths import MEASURED
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.batch_search import BatchSearchSpec
from workbench.core.errors import NotAvailable
from workbench.core.recording import RecordingSpec
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration
from workbench.experiments.gpu_use import energy_by_unit, gpu_use, gpus_of
from workbench.experiments.recording import recording_of, span_of
from workbench.jobs.manager import JobManager, workbench_home
from workbench.store.history import history_folder
from workbench.store.runs import runs_in_folder

out = Console()


def record(
    seconds: Annotated[float, typer.Option(help="How long.")] = 60.0,
    rate: Annotated[float, typer.Option(help="Samples a second.")] = 10.0,
    url: Annotated[str | None, typer.Option(help="Server whose counters are read too.")] = None,
    pids: Annotated[str, typer.Option(help="Comma-separated processes whose threads are watched.")] = "",
    days: Annotated[
        str | None, typer.Option(help="Name of a history on disk, for days of samples; 04_utilization shows it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sample this machine, its GPUs and a server's counters, and keep the samples as a run."""
    with ReadableErrors():
        watched = tuple(int(p) for p in pids.split(",") if p.strip())
        spec = RecordingSpec(
            duration_s=seconds,
            rate_hz=rate,
            url=url,
            pids=watched,
            history=str(history_folder(workbench_home(), days)) if days else None,
        )
        run = measured("recording", spec.to_dict(), can_resume=False)
        _tell(run, as_json=as_json)


def why_idle(
    run_id: Annotated[str | None, typer.Argument(help="Of a recording or a load with samples; the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say where the time of each GPU went in a recording: no requests, host, small kernels, memory, clocks."""
    with ReadableErrors():
        store = JobManager().store
        own = [r for kind in ("recording", "load") for r in store.newest(kind)]
        known = [r for r in (*own, *runs_in_folder(MEASURED)) if r.samples.get("telemetry")]
        known.sort(key=lambda r: r.finished_at, reverse=True)
        found = [r for r in known if run_id in {None, r.id}]
        if not found:
            raise NotAvailable(
                f"There is no recording {run_id or ''}.".replace(" .", "."), remedy="Run `workbench record` first."
            )
        _tell(found[0], as_json=as_json)


def batch_size(
    model: Annotated[str, typer.Argument(help="Folder of a model, or of a shape with --random-weights.")],
    work: Annotated[str, typer.Option(help="decode: a token for each sequence; prefill: reading prompts.")] = "decode",
    context: Annotated[int, typer.Option(help="Tokens of each sequence.")] = 128,
    latency_ms: Annotated[float | None, typer.Option(help="A step takes at most.")] = None,
    memory_gib: Annotated[float | None, typer.Option(help="Of the device, weights included.")] = None,
    largest: Annotated[int, typer.Option(help="Largest batch to try.")] = 512,
    rounds: Annotated[int, typer.Option(help="Timed steps of each trial.")] = 7,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    random_weights: Annotated[bool, typer.Option(help="Only the shape counts.")] = False,
    exhaustive: Annotated[bool, typer.Option(help="Try every batch of the grid.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the batch with the highest throughput within limits on time and memory."""
    with ReadableErrors():
        spec = BatchSearchSpec(
            model=model,
            work=work,  # type: ignore[arg-type]
            context_tokens=context,
            latency_ms=latency_ms,
            memory_gib=memory_gib,
            largest=largest,
            rounds=rounds,
            device=device,  # type: ignore[arg-type]
            random_weights=random_weights,
            is_exhaustive=exhaustive,
        )
        run = measured("batch_search", spec.to_dict(), can_resume=False)
        told = {k: run.samples[k] for k in ("best_batch", "per_s", "memory_limit_bytes", "left_bytes")}
        if as_json:
            print(json.dumps({"id": run.id, **told, "trials": list(run.results)}, indent=1))
            return
        table = Table("batch", "sequences/s", "step p50", "peak", "predicted", "")
        for r in run.results:
            table.add_row(
                str(r["batch"]),
                f"{r['sequences_per_s']:.3g}" if r.get("p50_s") else "–",
                shown_duration(r["p50_s"]) if r.get("p50_s") else "–",
                shown_bytes(r["peak_bytes"]),
                shown_bytes(r["predicted_bytes"]) if r["predicted_bytes"] else "–",
                r["status"],
            )
        out.print(table)
        out.print(f"● best batch: {told['best_batch']}", highlight=False)


def _tell(run: Run, *, as_json: bool) -> None:
    made = recording_of(run)
    assert made is not None
    start, end = span_of(run, made)
    uses = [gpu_use(made, gpu, start, end) for gpu in gpus_of(made)]
    told: dict[str, Any] = {
        "id": run.id,
        "device": run.environment.device,
        "provenance": run.provenance,
        "span_s": end - start,
        "gpus": [asdict(use) for use in uses],
        "energy": energy_by_unit(run, made, start, end),
        "problems": dict(made.problems),
    }
    if as_json:
        print(json.dumps(told, indent=1))
        return
    out.print(f"● {run.environment.device}, run {run.id}, {end - start:.0f} s", highlight=False)
    for use in uses:
        table = Table(use.gpu, "share of the time", "evidence", "what could help")
        for loss in use.losses:
            table.add_row(loss.cause, f"{100 * loss.fraction:.1f} %", loss.evidence, loss.remedy)
        table.add_row(use.achieved, f"{100 * use.achieved_fraction:.1f} %", "what remains", "")
        out.print(table)
    for name, value in told["energy"].items():
        if value is not None:
            out.print(f"{name}: {value:.3g}", highlight=False)
    for name, why in made.problems.items():
        out.print(f"missing {name}: {why}", highlight=False)
