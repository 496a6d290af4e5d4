"""``workbench claims``: the ledger of the published claims."""

import json
from typing import Annotated

import typer

from workbench.app.ledger import all_runs, counted, entry_data, ledger
from workbench.catalog.ledger import Outcome, shown_value
from workbench.core.errors import InvalidSpec
from workbench.interface.command import AsJson, print_table
from workbench.interface.readable import ReadableErrors, out
from workbench.jobs.manager import JobManager

HEAD = ("question", "claim", "outcome", "value", "claimed", "runs")
Question = Annotated[int | None, typer.Option(help="Number of a question, from 1 to 13; all if left out.")]


def claims(question: Question = None, as_json: AsJson = False) -> None:
    """Compare every published claim of the FAQ with the runs of this machine and those that ship."""
    with ReadableErrors():
        if question is not None and not 1 <= question <= 13:
            raise InvalidSpec(f"There is no question {question}.", remedy="Give a number from 1 to 13.")
        entries = ledger(all_runs(JobManager()), question)
    if as_json:
        print(json.dumps([entry_data(e) for e in entries], indent=1, ensure_ascii=False))
        return
    print_table(
        HEAD,
        (
            (
                str(e.claim.question),
                f"{e.claim.technique}, {e.claim.metric.replace('_', ' ')}",
                str(e.judgement.outcome),
                shown_value(e.claim, e.judgement),
                e.claim.shown_range,
                " ".join(r.id for r in e.judgement.runs) or e.judgement.command or e.judgement.reason,
            )
            for e in entries
        ),
    )
    counts = counted(entries)
    out.print(" · ".join(f"{counts[o]} {o}" for o in Outcome if counts[o]))
    out.print(f"{sum(e.judgement.is_judged for e in entries)} of {len(entries)} are judged. --json says how.")
