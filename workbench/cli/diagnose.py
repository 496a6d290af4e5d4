"""The command that says why latency changed between two loads."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.paths import MEASURED
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.errors import NotAvailable
from workbench.core.load import LoadSpec
from workbench.core.runs import Run
from workbench.experiments.confirmation import again, confirmation, outcome
from workbench.experiments.diagnosis import Diagnosis
from workbench.experiments.diagnosis import diagnose as diagnosed
from workbench.experiments.latency_split import PARTS, Split, latency_split
from workbench.jobs.manager import JobManager
from workbench.store.runs import read_run_file, runs_in_folder

out = Console()
SHOWN = 4


def diagnose(
    baseline: Annotated[str, typer.Option(help="Id or file of a healthy load.")],
    current: Annotated[
        str | None, typer.Option(help="Id or file of the load in question; left out, the healthy load is sent now.")
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Send the load that would confirm the cause.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what users notice between two loads, where the change lies, and which causes the evidence speaks for.

    Measure both with `workbench load URL --telemetry-hz 5 --probe`; with less, less can be said.
    """
    with ReadableErrors():
        a = _run(baseline)
        b = _run(current) if current is not None else _sent(again(a))
        found = diagnosed(a, b)
        split = _split(a, b)
        told: dict[str, Any] = found.to_dict() | {"provenance": "measured", "parts": _parts(split)}
        if not as_json:
            _show(found, split)
        if confirm:
            asked = confirmation(found, a, b)
            if not as_json:
                out.print(asked.expects, highlight=False)
            made = _sent(asked.spec)
            said = outcome(asked, a, b, made)
            told["confirmation"] = asdict(said) | {"run": made.id}
            if not as_json:
                out.print(f"● {said.verdict.lower()}: {said.text}", highlight=False)
        if as_json:
            print(json.dumps(told, indent=1))


def _sent(spec: LoadSpec) -> Run:
    """The run of a load that is sent now; raises ``NotAvailable`` when the server does not take it."""
    made = measured("load", spec.to_dict(), can_resume=False)
    if not made.samples.get("requests"):
        raise NotAvailable(made.failures[0]["cause"], remedy=made.failures[0]["remedy"])
    return made


def _split(a: Run, b: Run) -> Split | None:
    try:
        return latency_split(a, b)
    except NotAvailable:
        return None


def _parts(split: Split | None) -> dict[str, Any] | None:
    if split is None:
        return None
    return asdict(split) | {"change_s": split.change_s, "by_part_s": split.by_part_s, "largest": split.largest}


def _show(found: Diagnosis, split: Split | None) -> None:
    if split is not None:
        table = Table("● mean seconds of a request", "baseline", "current", "change")
        for part in (*PARTS, "end to end"):
            pair = [p.e2e_s if part == "end to end" else p.by_part_s[part] for p in (split.baseline, split.current)]
            table.add_row(part, *(f"{v:.3f}" for v in pair), f"{pair[1] - pair[0]:+.3f}")
        for name in ("requests_per_s", "input_tokens", "output_tokens"):
            pair = [getattr(p, name) for p in (split.baseline, split.current)]
            table.add_row(name, *(f"{v:.4g}" for v in pair), f"{100 * (pair[1] / pair[0] - 1):+.0f} %")
        out.print(table)
    if not found.alarm:
        out.print("● users notice no change: waits, failures and answers are as before", highlight=False)
        return
    out.print(f"● users notice: {'; '.join(found.symptoms)}", highlight=False)
    causes = Table("cause", "belief", "for", "against", "remedy")
    for c in found.causes[:SHOWN]:
        speaks = [e.text for e in c.evidence if e.speaks > 0.1][:3]
        against = [e.text for e in c.evidence if e.speaks < -0.1][:2]
        causes.add_row(c.title, f"{100 * c.share:.0f} %", "\n".join(speaks), "\n".join(against), c.remedy)
    out.print(causes)
    if found.abstains is not None:
        out.print(f"● no cause is named: {found.abstains}", highlight=False)


def _run(name: str) -> Run:
    file = Path(name).expanduser()
    if file.is_file():
        return read_run_file(file)
    store = JobManager().store
    known = (*runs_in_folder(MEASURED), *runs_in_folder(MEASURED / "diagnosis"))
    shipped = next((r for r in known if r.id == name), None)
    return store.get(name) if store.has(name) or shipped is None else shipped
