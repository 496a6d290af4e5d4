"""The command that puts faults into a real server and scores who finds their causes."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.faults import FaultsSpec
from workbench.core.runs import Run
from workbench.experiments.fault_list import FAULTS

out = Console()
DEFAULTS = FaultsSpec(model="any")


def faults(
    model: Annotated[str, typer.Argument(help="Folder of the model that is served.")] = str(REFERENCE_MODEL),
    engine: Annotated[str, typer.Option(help="torch or vllm.")] = "torch",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    only: Annotated[str, typer.Option(help="Comma-separated names; all that this machine can have.")] = "",
    doses: Annotated[str, typer.Option(help="low, high or both.")] = "low,high",
    seeds: Annotated[str, typer.Option(help="Comma-separated; 1 to 99 were used for tuning.")] = "101",
    control_seeds: Annotated[str, typer.Option(help="Further seeds, for healthy loads only.")] = "",
    seconds: Annotated[float, typer.Option(help="Of each load.")] = DEFAULTS.duration_s,
    rate: Annotated[
        float, typer.Option(help="Healthy requests per second: about half of what it can do.")
    ] = DEFAULTS.rate_per_s,
    list_them: Annotated[bool, typer.Option("--list", help="Show the faults and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Inject faults with known causes into a real server, and score who finds them: ours and three simple ways.

    Takes about a quarter of a minute for each load: 42 loads and 7 restarts for one seed.
    """
    with ReadableErrors():
        if list_them:
            _list()
            return
        spec = FaultsSpec(
            model=model,
            engine=engine,  # type: ignore[arg-type]
            device=device,  # type: ignore[arg-type]
            faults=tuple(_parts(only)),
            doses=tuple(_parts(doses)),
            seeds=tuple(int(s) for s in _parts(seeds)),
            control_seeds=tuple(int(s) for s in _parts(control_seeds)),
            duration_s=seconds,
            rate_per_s=rate,
        )
        run = measured("faults", spec.to_dict(), can_resume=False)
        if as_json:
            print(json.dumps(_told(run), indent=1))
        else:
            _show(run)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _list() -> None:
    table = Table("fault", "true cause", "doses", "engines")
    for f in FAULTS:
        engines = ", ".join(f.options) if f.options else "torch, vllm"
        table.add_row(f.name, f.cause or "none: healthy", ", ".join(f.doses), engines)
    out.print(table)


def _told(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "device": run.environment.device,
        "provenance": run.provenance,
        "spec": dict(run.spec),
        "scores": list(run.results),
        "by_fault": run.samples["by_fault"],
        "episodes": run.samples["episodes"],
        "failures": list(run.failures),
    }


def _show(run: Run) -> None:
    table = Table("● who", "top-1", "top-3", "false alarms", "macro-F1", "abstained", "time to name it")
    for r in run.results:
        table.add_row(
            r["method"],
            *(f"{100 * r[k]:.0f} %" if r[k] is not None else "–" for k in ("top1", "top3", "false_alarms")),
            f"{r['macro_f1']:.2f}" if r["macro_f1"] is not None else "–",
            f"{100 * r['abstained']:.0f} %" if r["abstained"] is not None else "–",
            f"{r['time_to_detect_s']:.0f} s" if r["time_to_detect_s"] is not None else "–",
        )
    out.print(table)
    each = Table("fault", "dose", "loads", "took effect", "alarmed", "named")
    for row in run.samples["by_fault"]:
        named = f"{row['named']}" if row["cause"] else "–"
        each.add_row(row["fault"], row["dose"], f"{row['n']}", f"{row['took_effect']}", f"{row['alarmed']}", named)
    out.print(each)
    for failure in run.failures:
        out.print(f"{failure['cause']} {failure['remedy']}", highlight=False)
