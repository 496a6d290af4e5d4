"""The command that measures what raises the use of a device."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.catalog.tables import claims
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.techniques import TECHNIQUES, TechniquesSpec
from workbench.core.units import shown_duration
from workbench.experiments.technique_verdict import bound_by, claims_here

out = Console()


def techniques(
    model: Annotated[str, typer.Argument(help="Folder of a model, or of a shape with --random-weights.")] = str(
        REFERENCE_MODEL
    ),
    only: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(TECHNIQUES)}; all if left out.")] = "",
    batch: Annotated[int, typer.Option(help="Sequences that a dynamic batch puts together.")] = 8,
    context: Annotated[int, typer.Option(help="Tokens of each sequence.")] = 128,
    rounds: Annotated[int, typer.Option(help="Each measures both sides of a technique once.")] = 15,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    random_weights: Annotated[bool, typer.Option(help="Only the shape counts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what batching, overlap, fusion, graphs, pools and lower precision gain here, and profile three steps."""
    with ReadableErrors():
        spec = TechniquesSpec(
            model=model,
            techniques=tuple(t.strip() for t in only.split(",") if t.strip()) or tuple(TECHNIQUES),
            batch=batch,
            context_tokens=context,
            rounds=rounds,
            device=device,  # type: ignore[arg-type]
            random_weights=random_weights,
        )
        run = measured("techniques", spec.to_dict(), can_resume=False)
        stand = claims_here(claims(), run.results)
        if as_json:
            told = {
                "id": run.id,
                "device": run.environment.device,
                "techniques": list(run.results),
                "profiles": run.samples["profiles"],
                "roof": run.samples["roof"],
                "claims": [
                    {
                        "technique": c.claim.technique,
                        "metric": c.claim.metric,
                        "outcome": c.outcome,
                        "measured": c.measured,
                    }
                    for c in stand
                ],
            }
            print(json.dumps(told, indent=1))
            return
        table = Table("technique", "without", "with", "gain", "what is compared")
        for r in run.results:
            if r["status"] != "measured":
                table.add_row(r["label"], "–", "–", r["status"], r["reason"])
            elif "without_s" in r:
                gain = f"{r['gain']:.2f}× ({r['gain_low']:.2f} to {r['gain_high']:.2f})"
                table.add_row(r["label"], shown_duration(r["without_s"]), shown_duration(r["with_s"]), gain, r["what"])
            else:
                empty = [f"{100 * r[k]:.1f} % empty" for k in ("without_fraction", "with_fraction")]
                table.add_row(r["label"], *empty, f"{r['gain']:.2f}×", r["what"])
        out.print(table)
        for name, p in run.samples["profiles"].items():
            shares = bound_by(p, run.samples["roof"])
            text = ", ".join(f"{k} {100 * v:.0f} %" for k, v in shares.items())
            out.print(
                f"● {name}: {shown_duration(p['wall_s'])}, {p['n_operators']:.0f} operators; {text}", highlight=False
            )
        for c in stand:
            if c.measured is not None:
                out.print(f"claim: {c.claim.technique}, {c.claim.metric}: {c.outcome} ({c.shown})", highlight=False)
