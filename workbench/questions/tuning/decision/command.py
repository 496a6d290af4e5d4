"""The command that writes the page of a decision."""

import json
from pathlib import Path
from typing import Annotated

import typer

from workbench.core.errors import StoreError, first_line
from workbench.core.rows import plain
from workbench.interface.command import AsJson, print_table
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out
from workbench.questions.tuning.decision.findings import (
    BILL_HEAD,
    ENERGY_HEAD,
    bill_rows,
    decision,
    energy_rows,
    verdict,
)
from workbench.questions.tuning.decision.findings.apis import API_HEAD, api_rows
from workbench.questions.tuning.decision.panel import decision_page
from workbench.questions.tuning.decision.spec import DecisionSpec


@asks_for(DecisionSpec)
def decide(
    spec: DecisionSpec,
    *,
    page: Annotated[Path, typer.Option(help="HTML file that is written; it needs no network.")] = Path("decision.html"),
    as_json: AsJson = False,
) -> None:
    """Write one page for the person who signs: plan, cost beside an API's, break-even, energy, CO2 and risks."""
    answer = decision(spec)
    if as_json:
        print(json.dumps(plain(answer), indent=1))
        return
    said = verdict(answer)
    try:
        page.write_text(decision_page(spec, answer), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"The page {page} cannot be written: {first_line(error)}.", remedy="Name another file."
        ) from error
    out.print(said.headline)
    out.print(said.evidence)
    print_table(BILL_HEAD, bill_rows(answer))
    print_table(API_HEAD, api_rows(answer.api_offers, own_usd=answer.own.usd_per_month))
    print_table(ENERGY_HEAD, energy_rows(answer))
    out.print(f"The page is {page}.")


COMMANDS = (decide,)
