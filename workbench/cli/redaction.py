"""The command that redacts texts, and scores detectors on a generated corpus."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.redaction import DETECTORS, RedactionSpec
from workbench.gateway.redaction import redacted

out = Console()
DEFAULTS = RedactionSpec()


def redact(
    score: Annotated[bool, typer.Option("--score", help="Score detectors on a generated corpus instead.")] = False,
    seed: Annotated[int, typer.Option(help="Of the corpus; 1 to 999 were used for tuning.")] = DEFAULTS.seed,
    texts: Annotated[
        int, typer.Option(help="Of each class, and as many that only look like it.")
    ] = DEFAULTS.n_per_kind,
    detectors: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(DETECTORS)}.")] = "ours,faq",
    as_json: AsJson = False,
) -> None:
    """Replace personal data and secrets in standard input; --score says how much of them is found."""
    with ReadableErrors():
        if not score:
            text, found = redacted(sys.stdin.read())
            print(text, end="")
            kinds = {f.kind for f in found}
            print(f"{len(found)} replaced" + (f": {', '.join(sorted(kinds))}" if kinds else ""), file=sys.stderr)
            return
        spec = RedactionSpec(seed=seed, n_per_kind=texts, detectors=tuple(d for d in detectors.split(",") if d))
        run = measured("redaction", spec.to_dict(), can_resume=False)
        if as_json:
            told = {"id": run.id, "spec": dict(run.spec), "results": list(run.results)}
            kept = ("us_per_1000_characters", "split_differences", "n_splits", "hostile_ms", "wrong")
            print(json.dumps(told | {k: run.samples[k] for k in kept}, indent=1, ensure_ascii=False))
            return
        shown = Table("detector", "class", "recall, %", "precision, %", "found wrongly")
        for r in run.results:
            cells = ("–" if r[k] is None else f"{100 * r[k]:.1f}" for k in ("recall", "precision"))
            shown.add_row(DETECTORS[r["detector"]], r["kind"].lower(), *cells, str(r["false"]))
        out.print(shown)
        slowest = max(run.samples["hostile_ms"].values())
        out.print(
            f"{run.samples['split_differences']} of {run.samples['n_splits']} streams differ from the whole text; a megabyte of "
            f"hostile text takes at most {slowest:.0f} ms.",
            highlight=False,
        )
