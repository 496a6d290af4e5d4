"""The command that measures pictures with captions."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.fusion import FUSIONS, FusionSpec

out = Console()
DEFAULTS = FusionSpec()


def fusion(
    routed: Annotated[str, typer.Option(help=f"Routed and quantized: {', '.join(FUSIONS)}.")] = DEFAULTS.routed,
    lost: Annotated[
        float, typer.Option(help="Share of answers that skipping the picture may lose.")
    ] = DEFAULTS.most_lost,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train anew instead of reading what ships.")] = False,
    rounds: Annotated[int, typer.Option(help="Of timing.")] = DEFAULTS.rounds,
    as_json: AsJson = False,
) -> None:
    """Measure fusion of a picture and its caption: missing modalities, routing, precision by tower, two threads."""
    with ReadableErrors():
        spec = FusionSpec(routed=routed, most_lost=lost, retrain=retrain, rounds=rounds)
        run = measured("fusion", spec.to_dict(), can_resume=False)
        if as_json:
            print(json.dumps({"id": run.id, "spec": dict(run.spec), "results": list(run.results)}, indent=1))
            return
        shown = Table("fusion", "loses with half of the pictures missing", "with dropped modalities", "ratio")
        for r in run.results:
            if r["part"] == "drop":
                low, high = r["ratio_interval"]
                shown.add_row(
                    r["fusion"],
                    f"{100 * r['drop_without']:.1f} points",
                    f"{100 * r['drop_with']:.1f} points",
                    f"{r['ratio']:.2f} ({low:.2f} to {high:.2f})",
                )
        out.print(shown)
        timed = Table("what", "batch", "times as fast", "really faster?")
        for r in run.results:
            for batch, t in r.get("times", {}).items():
                if "ratio" in t:
                    timed.add_row(r.get("what", "skipping the picture"), batch, f"{t['ratio']:.2f}", t["verdict"])
        out.print(timed)
