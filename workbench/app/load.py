"""``workbench load``: send requests to a server and report latency, throughput and goodput as its users see them."""

import json
from dataclasses import dataclass, fields, replace

import typer

from workbench.app.load_tables import load_tables
from workbench.core.knobs import knob
from workbench.core.rows import Json, plain
from workbench.core.runs import Run
from workbench.interface.command import AsJson
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out, show_failure
from workbench.load.ask import the_model
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLoad(LoadSpec):
    """A load as a shell asks for it, where the server may be asked for the name of its model."""

    model: str | None = knob(
        None,
        "Served model name",
        "Name under which the server offers the model; the only one that it lists if left out.",
    )  # type: ignore[assignment]

    def named(self) -> LoadSpec:
        """Return the load with a model's name; raises ``WorkbenchError`` when the server lists none, or several."""
        values = {field.name: getattr(self, field.name) for field in fields(LoadSpec)}
        unnamed = LoadSpec(**values | {"model": self.model or "-"})
        return unnamed if self.model else replace(unnamed, model=the_model(unnamed))


@asks_for(AskedLoad)
def load(asked: AskedLoad, *, as_json: AsJson = False) -> None:
    """Measure TTFT, TPOT, end-to-end latency and goodput of a serving engine."""
    run = measured(LoadSpec.kind, asked.named().to_dict(), can_resume=False, keeps_partial=True)
    if as_json:
        print(json.dumps(load_json(run), indent=1))
    else:
        for part in load_tables(run):
            out.print(part)
    if not run.results:
        for failure in run.failures:
            show_failure(failure.cause, failure.remedy)
        raise typer.Exit(1)


def load_json(run: Run) -> dict[str, Json]:
    """Return the documented form: the answers on top, with what is needed to judge them."""
    answers = plain(run.row(LoadResult))
    envelope = {name: value for name, value in run.to_dict().items() if name not in NOT_SHOWN}
    return (answers if isinstance(answers, dict) else {}) | envelope


NOT_SHOWN = {"kind", "results", "samples", "seed", "schema_version"}
COMMANDS = (load,)
