"""What the commands of devices, models and prices share: options, the check of a file, and rows added from one."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from workbench.catalog.csv_rows import lines_of
from workbench.catalog.own_tables import OwnTable, add_rows, require_right
from workbench.core.errors import InvalidSpec
from workbench.interface.command import AsJson, print_table
from workbench.interface.readable import ReadableErrors, out

Replace = Annotated[bool, typer.Option("--replace", help="Replace your row of the same name.")]
FromFile = Annotated[
    Path | None,
    typer.Option("--from", help="CSV file with the columns of the table; all its rows are added, or none."),
]
Checked = Annotated[Path | None, typer.Argument(help="CSV file to check; your own file if it is left out.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Cell of another column, as COLUMN=VALUE; may be given several times."),
]


def add_from_file(table: OwnTable, file: Path, *, does_replace: bool) -> None:
    """Add all rows of a file, or none where one is wrong, and say so."""
    with ReadableErrors():
        require_right(table, file)
        rows = [line.cells for line in lines_of(file)]
        target = add_rows(table, rows, does_replace=does_replace)
    out.print(f"{len(rows)} row{'' if len(rows) == 1 else 's'} added to {target}.", soft_wrap=True)


def with_settings(cells: Mapping[str, object], settings: Sequence[str] | None) -> dict[str, str]:
    """Return the cells that were given as options, and those given as ``COLUMN=VALUE``; raises ``InvalidSpec``."""
    given = {column: str(value) for column, value in cells.items() if value is not None}
    for text in settings or ():
        column, equals, value = text.partition("=")
        if not equals:
            raise InvalidSpec(f"{text!r} is no setting.", remedy="Give COLUMN=VALUE.")
        given[column.strip()] = value.strip()
    return given


def add_check_command(app: typer.Typer, table: OwnTable) -> None:
    """Add the command ``check`` of a table to its group."""

    def check(file: Checked = None, as_json: AsJson = False) -> None:
        _check_file(table, file, as_json=as_json)

    help_text = f"Check a file of {table.word} row by row; every problem is printed with its line and column."
    app.command("check", help=help_text)(check)


def _check_file(table: OwnTable, file: Path | None, *, as_json: bool) -> None:
    """Print what is wrong in a file, row by row; ends with status 2 where anything is."""
    with ReadableErrors():
        target = (file or table.file).expanduser()
        if file is None and not target.exists():
            raise InvalidSpec(
                f"You have no {table.word} of your own: there is no {target}.",
                remedy=f"Add one with `workbench {table.word} add`, or name a file to check.",
            )
        problems = table.problems(target)
        n_rows = sum(1 for _ in lines_of(target))
    if as_json:
        print(json.dumps({"file": str(target), "n_rows": n_rows, "problems": [asdict(p) for p in problems]}, indent=1))
    elif problems:
        print_table(("line", "column", "problem"), ((str(p.line), p.column or "–", p.cause) for p in problems))
    else:
        out.print(f"{target}: {n_rows} row{'' if n_rows == 1 else 's'}, nothing is wrong.", soft_wrap=True)
    if problems:
        raise typer.Exit(2)


def print_rows(head: Sequence[str], rows: Iterable[Sequence[str]], *, as_json: bool, data: object) -> None:
    """Print rows as a table, or their data as JSON."""
    if as_json:
        print(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        print_table(head, rows)
