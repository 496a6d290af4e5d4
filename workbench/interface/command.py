"""Commands that measure: from a spec's options to a job, and from its run to text or JSON."""

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from typing import Annotated, TypeVar

import typer
from rich.padding import Padding
from rich.table import Column, Table

from workbench.core.rows import Json, flat, plain
from workbench.core.runs import Run
from workbench.core.specs import Spec
from workbench.core.units import shown_duration
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out
from workbench.measuring.machine import busy_text

S = TypeVar("S", bound=Spec)
A = TypeVar("A")
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
NAME_WIDTH, WORD_WIDTH = 24, 12
"""Characters of a name and of a word that a table does not break."""
JSON_OPTION = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson)


def summary(run: Run) -> dict[str, Json]:
    """The documented JSON form: everything but the raw samples."""
    return {key: value for key, value in run.to_dict().items() if key != "samples"}


def measures(
    spec_class: type[S],
    *,
    can_resume: bool = False,
    check: Callable[[S], object] | None = None,
    samples: Sequence[str] = (),
    also: Callable[[Run], Mapping[str, object]] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function that prints a run: it asks for a spec, measures it as a job, and prints its run.

    Args:
        spec_class: Class of the spec; its knobs become the options.
        can_resume: Whether a cancelled measurement goes on from its finished parts.
        check: Called with the spec before the job starts; raises a ``WorkbenchError`` for what cannot be measured.
        samples: Names of raw samples that belong to the JSON form.
        also: Returns what else belongs to the JSON form.
    """

    def decorate(show: Callable[..., None]) -> Callable[..., None]:
        @wraps(show)
        def measure(spec: S, *, as_json: bool = False, **options: object) -> None:
            if check is not None:
                check(spec)
            run = measured(spec.kind, spec.to_dict(), can_resume=can_resume)
            if as_json:
                kept = {name: plain(getattr(run.samples, name)) for name in samples}
                more = {name: plain(value) for name, value in (also(run) if also else {}).items()}
                print(json.dumps(summary(run) | kept | more, indent=1, ensure_ascii=False))
                return
            show(run, **options)
            if busy := busy_text(run.environment.other_load_fraction):
                out.print(f"The machine was busy: {busy}. Measure again while it has no other work.")

        measure.__signature__ = _with_json_option(show)  # type: ignore[attr-defined]
        return asks_for(spec_class)(measure)

    return decorate


def computes(
    spec_class: type[S], answered: Callable[[S], A], data: Callable[[A], object] = plain
) -> Callable[[Callable[[A], None]], Callable[..., None]]:
    """Make a command of a function that prints an answer: it asks for a spec, and prints its answer or the JSON form.

    Args:
        spec_class: Class of the spec; its knobs become the options.
        answered: From the spec to its answer.
        data: From the answer to its documented JSON form, where that is not made of the answer's own fields.
    """

    def decorate(show: Callable[[A], None]) -> Callable[..., None]:
        @wraps(show)
        def compute(spec: S, *, as_json: bool) -> None:
            answer = answered(spec)
            if as_json:
                print(json.dumps(plain(data(answer)), indent=1))
            else:
                show(answer)

        compute.__signature__ = _with_json_option(show)  # type: ignore[attr-defined]
        return asks_for(spec_class)(compute)

    return decorate


def _with_json_option(show: Callable[..., None]) -> inspect.Signature:
    return inspect.Signature([*inspect.signature(show, eval_str=True).parameters.values(), JSON_OPTION])


def print_table(head: Collection[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of texts, or a paragraph for each row where the terminal is too narrow for its columns.

    Names in the first column are never cut, so that they can be typed again.
    """
    names, cells = list(head), [list(row) for row in rows]
    if _least_width(names, cells) > out.width:
        for name, *values in cells:
            out.print(name, style="bold")
            pairs = zip(names[1:], values, strict=False)
            out.print(Padding(", ".join(f"{label} {value}".strip() for label, value in pairs), (0, 0, 0, 2)))
        return
    table = Table(*(Column(name, overflow="ellipsis" if i else "fold") for i, name in enumerate(names)))
    for row in cells:
        table.add_row(*row)
    out.print(table)


def _least_width(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the width at which no word of a table is cut, nor a short name in its first column broken."""
    columns = [[text, *(row[i] for row in rows if i < len(row))] for i, text in enumerate(head)]
    words = [max((len(w) for text in column for w in text.split()), default=0) for column in columns]
    if columns:
        words[0] = max(words[0], min(NAME_WIDTH, max(len(text) for text in columns[0])))
    return sum(min(w, WORD_WIDTH) for w in words) + 3 * len(words) + 1


def printed(run: Run, columns: Sequence[str], *, as_json: bool) -> None:
    """A run as JSON, or as a table of some columns of its results."""
    if as_json:
        print(json.dumps(summary(run), indent=1))
        return
    print_table(columns, ([_cell(name, flat(row)) for name in columns] for row in run.results))
    for failure in run.failures:
        out.print(str(failure))


def _cell(name: str, row: Mapping[str, Json]) -> str:
    value = row.get(name)
    if value is None:
        return "–"
    quantity = name.removesuffix(".value")
    if quantity.endswith("_s") and not quantity.endswith("_per_s"):
        return shown_duration(float(str(value)))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
