"""The command that plays rollouts between real versions."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.rollout import SCENARIOS, RolloutSpec

out = Console()
DEFAULTS = RolloutSpec(model="any")


def rollout(
    model: Annotated[str, typer.Argument(help="Folder of the old version.")] = str(REFERENCE_MODEL),
    scenarios: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(SCENARIOS)}.")] = ",".join(
        DEFAULTS.scenarios
    ),
    rate: Annotated[float, typer.Option(help="Requests a second.")] = DEFAULTS.rate_per_s,
    least_requests: Annotated[int, typer.Option(help="Of the new version in each step.")] = DEFAULTS.least_requests,
    alpha: Annotated[float, typer.Option(help="Chance of rolling a good version back, at most.")] = DEFAULTS.alpha,
    disagreement: Annotated[float, typer.Option(help="Share of next tokens that may differ.")] = DEFAULTS.disagreement,
    seed: Annotated[int, typer.Option(help="Of arrivals and prompts.")] = DEFAULTS.seed,
    as_json: AsJson = False,
) -> None:
    """Roll new versions out behind the gateway, good ones and bad ones, and see where each ends."""
    with ReadableErrors():
        spec = RolloutSpec(
            model=model,
            scenarios=tuple(s for s in scenarios.split(",") if s),
            rate_per_s=rate,
            least_requests=least_requests,
            alpha=alpha,
            disagreement=disagreement,
            seed=seed,
        )
        run = measured("rollout", spec.to_dict(), can_resume=False)
        if as_json:
            print(json.dumps({"id": run.id, "spec": dict(run.spec), "results": list(run.results)}, indent=1))
            return
        shown = Table("new version", "ended", "because", "after, s", "its requests", "verified")
        for r in run.results:
            told = (SCENARIOS[r["scenario"]], r["phase"], r["why"], f"{r['took_s']:.0f}", str(r["n_new"]))
            shown.add_row(*told, "yes" if r["is_verified"] else "no")
        out.print(shown)
