"""The ledger: every published claim with its judgement, the same for the start page, the notebooks and ``workbench claims``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from workbench.catalog.ledger import Decision, Decisions, Entry, Evidence, Judge, Key, judged
from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import claims, questions
from workbench.core.rows import Json
from workbench.core.runs import Run
from workbench.jobs.manager import JobManager
from workbench.store.runs import runs_in_folder

LEFT_OUT = "left_out"
"""Folder of shipped runs that no panel shows."""


@cache
def judges() -> dict[Key, Judge]:
    """Return the judges of all questions; raises ``ValueError`` where two judge the same claim."""
    collected: dict[Key, Judge] = {}
    for question in questions():
        name = f"workbench.questions.{question.slug}.claims"
        if find_spec(name) is None:
            continue
        own = import_module(name).JUDGES
        if twice := collected.keys() & own.keys():
            raise ValueError(f"{name} judges {twice}, which another question judges already")
        collected |= own
    return collected


def all_runs(manager: JobManager) -> list[Run]:
    """Return the runs of this machine and those that ship, each once, newest first."""
    runs = {r.id: r for r in (*runs_in_folder(MEASURED / LEFT_OUT), *runs_in_folder(MEASURED), *manager.store.newest())}
    return sorted(runs.values(), key=lambda r: r.finished_at, reverse=True)


def ledger(runs: Sequence[Run], question: int | None = None) -> list[Entry]:
    """Return the claims of a question, or of all, each with its judgement."""
    asked = [c for c in claims() if question in {None, c.question}]
    return judged(asked, judges(), Evidence(runs=runs))


def decisions(runs: Sequence[Run], question: int) -> Sequence[Decision]:
    """Return the FAQ's decision rules about a question beside the workbench's answers to the same inputs; none for most."""
    slug = next(q.slug for q in questions() if q.number == question)
    name = f"workbench.questions.{slug}.claims"
    decide: Decisions | None = getattr(import_module(name), "decisions", None) if find_spec(name) else None
    return decide(Evidence(runs=runs)) if decide else ()


def counted(entries: Sequence[Entry]) -> Counter[str]:
    """Return the number of claims by outcome."""
    return Counter(str(e.judgement.outcome) for e in entries)


def entry_data(entry: Entry) -> dict[str, Json]:
    """Return the documented JSON form of an entry."""
    claim, judgement = entry.claim, entry.judgement
    return {
        **asdict(claim),
        "outcome": str(judgement.outcome),
        "is_judged": judgement.is_judged,
        "value": judgement.value,
        "interval": list(judgement.interval) if judgement.interval else None,
        "provenance": str(judgement.provenance) if judgement.provenance else None,
        "device": judgement.device or None,
        "runs": [{"id": r.id, "kind": r.kind, "day": r.day} for r in judgement.runs],
        "how": judgement.how,
        "reason": judgement.reason or None,
        "command": judgement.command or None,
    }
