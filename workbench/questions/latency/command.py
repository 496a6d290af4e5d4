"""The command that says why latency changed between two loads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from workbench.catalog.paths import MEASURED
from workbench.core.errors import NotAvailable
from workbench.core.provenance import Provenance
from workbench.core.rows import plain
from workbench.core.runs import Run
from workbench.interface.command import AsJson
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out
from workbench.jobs.manager import JobManager
from workbench.load.spec import LoadSpec
from workbench.questions.latency.findings import Diagnosis, Ranked
from workbench.questions.latency.findings import diagnose as diagnosis_between
from workbench.questions.latency.findings.answers import evidence_against, evidence_for
from workbench.questions.latency.findings.confirmation import Outcome, again, confirmation, outcome
from workbench.questions.latency.findings.latency_split import PARTS, Split, known_split
from workbench.questions.latency.rows import holds_requests
from workbench.questions.latency.spec import DiagnosisSpec
from workbench.store.runs import read_run_file, runs_in_folder

SHOWN = 4


@asks_for(DiagnosisSpec)
def diagnose(
    spec: DiagnosisSpec,
    *,
    confirm: Annotated[
        bool,
        typer.Option("--confirm", help="Send the load that would confirm the named cause, and print whether it does."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what users notice between two loads, in which part of a request latency changed, and the likely causes with their evidence.

    Measure both loads with `workbench load URL --telemetry-hz 5 --probe`; without telemetry and probe there is less evidence.
    """
    a = _run(spec.baseline)
    b = _run(spec.current) if spec.current is not None else _send(again(a))
    diagnosis, split = diagnosis_between(a, b), known_split(a, b)
    tested = confirming = None
    if not as_json:
        _show(diagnosis, split)
    if confirm:
        plan = confirmation(diagnosis, a, b)
        if not as_json:
            out.print(plan.expects, highlight=False)
        confirming = _send(plan.spec)
        tested = outcome(plan, a, b, confirming)
        if not as_json:
            out.print(f"● {tested.verdict}: {tested.text}", highlight=False)
    if as_json:
        print(json.dumps(plain(_summary(diagnosis, split, tested, confirming)), indent=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationSummary:
    """Result of the confirming load, as ``--json`` prints it."""

    is_confirmed: bool | None
    """Whether the load confirms the cause; None: not known."""
    text: str
    run: str
    """Id of the confirming load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A diagnosis as ``--json`` prints it."""

    alarm: bool
    """Whether users notice a change."""
    named: str | None
    """Cause that the diagnosis names; None where it names none."""
    symptoms: Sequence[str]
    causes: Sequence[Ranked]
    abstains: str | None
    """Why no cause is named although there are symptoms."""
    withheld: str | None
    """Changes that other programs on the machine may have caused; None: there are none."""
    parts: Split | None
    """Change of latency by part; None without the counters of both servers."""
    confirmation: ConfirmationSummary | None
    """None where no confirming load was sent."""
    provenance: Provenance = Provenance.MEASURED


def _summary(diagnosis: Diagnosis, split: Split | None, tested: Outcome | None, confirming: Run | None) -> Summary:
    confirmed = None
    if tested is not None and confirming is not None:
        confirmed = ConfirmationSummary(is_confirmed=tested.is_confirmed, text=tested.text, run=confirming.id)
    return Summary(
        alarm=diagnosis.alarm,
        named=diagnosis.named,
        symptoms=diagnosis.symptoms,
        causes=diagnosis.causes,
        abstains=diagnosis.abstains,
        withheld=diagnosis.withheld,
        parts=split,
        confirmation=confirmed,
    )


def _send(spec: LoadSpec) -> Run:
    """Send a load and return its run; raises ``NotAvailable`` where no request could be sent."""
    run = measured(spec.kind, spec.to_dict(), can_resume=False)
    if not holds_requests(run):
        raise NotAvailable(run.failures[0].cause, remedy=run.failures[0].remedy)
    return run


def _show(diagnosis: Diagnosis, split: Split | None) -> None:
    if split is not None:
        table = Table("● mean time of a request (s)", "healthy load", "load in question", "change")
        for part in (*PARTS, "end to end"):
            pair = [p.e2e_s if part == "end to end" else p.by_part_s[part] for p in (split.baseline, split.current)]
            table.add_row(part, *(f"{v:.3f}" for v in pair), f"{pair[1] - pair[0]:+.3f}")
        for name in ("requests_per_s", "input_tokens", "output_tokens"):
            pair = [getattr(p, name) for p in (split.baseline, split.current)]
            table.add_row(name, *(f"{v:.4g}" for v in pair), f"{100 * (pair[1] / pair[0] - 1):+.0f} %")
        out.print(table)
    if diagnosis.withheld is not None:
        out.print(f"● No alarm: {diagnosis.withheld}.", highlight=False)
        return
    if not diagnosis.alarm:
        out.print("● Users notice no change: latency, failures and answers are the same.", highlight=False)
        return
    out.print(f"● Users notice: {'; '.join(diagnosis.symptoms)}.", highlight=False)
    causes = Table("cause", "probability", "evidence for", "evidence against", "remedy")
    for c in diagnosis.causes[:SHOWN]:
        evidence = ("\n".join(texts) for texts in (evidence_for(c)[:3], evidence_against(c)[:2]))
        causes.add_row(c.title, f"{100 * c.probability:.0f} %", *evidence, c.remedy)
    out.print(causes)
    if diagnosis.abstains is not None:
        out.print(f"● No cause is named: {diagnosis.abstains}.", highlight=False)


def _run(name: str) -> Run:
    """Return the run of an id or of a file; runs that ship with the workbench have ids too."""
    file = Path(name).expanduser()
    if file.is_file():
        return read_run_file(file)
    store = JobManager().store
    shipped = {r.id: r for r in (*runs_in_folder(MEASURED), *runs_in_folder(MEASURED / "diagnosis"))}
    return store.get(name) if store.has(name) or name not in shipped else shipped[name]


COMMANDS = (diagnose,)
