"""The command that measures compressions for a small device, and exports the one to run."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors, numbers
from workbench.core.edge import GRAPH_TECHNIQUES, OWN_MODEL, TECHNIQUES, EdgeSpec
from workbench.core.runs import Run
from workbench.core.units import MIB, shown_duration
from workbench.jobs.manager import JobManager

out = Console()
DEFAULTS = EdgeSpec()


def edge(
    model: Annotated[
        str,
        typer.Argument(
            help='"digits" (trained here), an .onnx graph with one input, or a folder with a language model.'
        ),
    ] = OWN_MODEL,
    data: Annotated[str | None, typer.Option(help="Inputs x and, if known, classes y of a graph (.npz).")] = None,
    techniques: Annotated[
        str | None, typer.Option(help=f"Comma-separated, fp32 among them; all by default: {', '.join(TECHNIQUES)}.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Of ONNX Runtime in the comparison.")] = DEFAULTS.threads,
    batches: Annotated[str | None, typer.Option(help="Comma-separated.")] = None,
    rounds: Annotated[int, typer.Option(help="In each, every variant is timed once.")] = DEFAULTS.rounds,
    lost: Annotated[float, typer.Option(help="Share of answers that early exits may lose.")] = DEFAULTS.most_lost,
    latency_ms: Annotated[float | None, typer.Option(help="Limit of p99.")] = None,
    memory_mib: Annotated[float | None, typer.Option(help="Limit of what it adds to the process.")] = None,
    power_w: Annotated[float | None, typer.Option(help="Limit of the processor's power.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Folder for the chosen graph, its settings and a script that checks it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of training and draws.")] = DEFAULTS.seed,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy, size, time, memory and energy of a model's compressions, and choose settings under limits."""
    with ReadableErrors():
        own = model == OWN_MODEL
        chosen = tuple(techniques.split(",")) if techniques else tuple(TECHNIQUES) if own else GRAPH_TECHNIQUES
        spec = EdgeSpec(
            model=model if own else str(Path(model).expanduser().resolve()),
            data=str(Path(data).expanduser().resolve()) if data else None,
            techniques=chosen,
            threads=threads,
            batches=numbers(batches, int) if batches else (1, 256) if own else (1, 32),
            rounds=rounds,
            most_lost=lost,
            latency_ms=latency_ms,
            memory_mib=memory_mib,
            power_w=power_w,
            seed=seed,
        )
        run = measured("edge", spec.to_dict(), can_resume=False)
        if export is not None:
            from workbench.experiments.edge_export import export_chosen

            export_chosen(run, JobManager().directory(run.id).path, export.expanduser())
        if as_json:
            told = {"id": run.id, "spec": dict(run.spec), "results": list(run.results), "failures": list(run.failures)}
            print(json.dumps(told, indent=1, ensure_ascii=False))
            return
        for batch in next((r["times"] for r in run.results if r["part"] == "variant"), {}):
            out.print(_variants(run, batch))
        _rest(run, export)


def _variants(run: Run, batch: str) -> Table:
    shown = Table(
        "technique", "accuracy", "flips", "kB", "p50", "p99", "times as fast", "really faster?", title=f"batch {batch}"
    )
    for r in run.results:
        if r["part"] != "variant":
            continue
        t = r["times"][batch]
        accuracy = "–" if r.get("accuracy") is None else f"{100 * r['accuracy']:.2f} %"
        if "perplexity" in r:
            accuracy = f"perplexity {r['perplexity']:.3f}"
        against = f"; beside {t['base']}: {t['base_verdict']}" if "base" in t else ""
        shown.add_row(
            r["technique"],
            accuracy,
            f"{r['flips']} of {r['n']}",
            f"{r['n_bytes'] / 1e3:.0f}",
            shown_duration(t["p50_s"]),
            shown_duration(t["p99_s"]),
            f"{t['ratio']:.2f}" if "ratio" in t else "1",
            t.get("verdict", "") + against,
        )
    return shown


def _rest(run: Run, export: Path | None) -> None:
    for r in run.results:
        if r["part"] == "guarantee":
            out.print(
                f"{r['technique']}: at most {100 * r['limit_fraction']:.1f} % lost is guaranteed, {100 * r['held_out_lost_fraction']:.2f} % on held-out "
                f"data, {100 * r['held_out_exit_fraction']:.1f} % exit early.",
                highlight=False,
            )
        elif r["part"] == "distillation" and r["gain_interval"]:
            low, high = (100 * v for v in r["gain_interval"])
            out.print(
                f"distillation from {r['labels_per_class']} labels a class, teacher from the {r['teacher']}: {100 * r['gain']:+.2f} points "
                f"({low:+.2f} to {high:+.2f}).",
                highlight=False,
            )
        elif r["part"] == "choice":
            out.print(
                f"Run {r['technique']} with {r['threads']} threads and batches of {r['batch']}: {r['inputs_per_s']:,.0f} inputs/s, p99 "
                f"{shown_duration(r['p99_s'])}, {r['peak_bytes'] / MIB:.1f} MiB.",
                highlight=False,
            )
    for f in run.failures:
        out.print(f"{f['cause']} {f['remedy']}", highlight=False)
    if export is not None:
        out.print(f"Exported to {export}: python {export}/check.py", highlight=False)
