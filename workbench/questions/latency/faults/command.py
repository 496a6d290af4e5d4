"""The command that injects faults into a real server and scores the methods that find their causes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from workbench.core.columns import cells_of
from workbench.core.provenance import Provenance
from workbench.core.rows import Failure, plain
from workbench.core.runs import Run
from workbench.interface.command import AsJson, print_table
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out
from workbench.questions.latency.faults.findings import BY_FAULT, SCORES, FaultCounts, by_fault
from workbench.questions.latency.faults.measure.fault_list import FAULTS
from workbench.questions.latency.faults.rows import Episode, FaultsSamples, Score
from workbench.questions.latency.faults.spec import FaultsSpec


@asks_for(FaultsSpec)
def faults(
    spec: FaultsSpec,
    *,
    list_them: Annotated[
        bool, typer.Option("--list", help="List the faults with their causes, doses and engines, and exit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Inject faults with known causes into a real server, and score the methods that find them: the workbench and three simple ones.

    A load takes about 15 seconds; one seed has 42 loads and 7 restarts.
    """
    if list_them:
        rows = [(f.name, f.cause or "none: healthy", ", ".join(f.doses), ", ".join(f.engines)) for f in FAULTS]
        print_table(("fault", "true cause", "doses", "engines"), rows)
        return
    run = measured(spec.kind, spec.to_dict(), can_resume=False)
    if as_json:
        print(json.dumps(plain(_summary(run)), indent=1))
        return
    print_table(SCORES, cells_of(SCORES, run.rows(Score)))
    print_table(BY_FAULT, cells_of(BY_FAULT, by_fault(run.sampled(FaultsSamples).episodes)))
    for failure in run.failures:
        out.print(f"{failure.cause} {failure.remedy}", highlight=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A fault suite as ``--json`` prints it."""

    id: str
    device: str
    provenance: Provenance
    spec: Mapping[str, object]
    scores: Sequence[Score]
    by_fault: Sequence[FaultCounts]
    episodes: Sequence[Episode]
    failures: Sequence[Failure]


def _summary(run: Run) -> Summary:
    episodes = run.sampled(FaultsSamples).episodes
    return Summary(
        id=run.id,
        device=run.environment.device,
        provenance=run.provenance,
        spec=run.spec,
        scores=run.rows(Score),
        by_fault=by_fault(episodes),
        episodes=episodes,
        failures=run.failures,
    )


COMMANDS = (faults,)
