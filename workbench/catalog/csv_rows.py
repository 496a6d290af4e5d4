"""Rows of CSV files, decoded into dataclasses where a file is read."""

import csv
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from workbench.catalog.own_rows import own_file
from workbench.catalog.paths import DATA
from workbench.core.errors import InvalidSpec, system_message
from workbench.core.language import gettext, gettext_noop
from workbench.core.stored_texts import in_readers_words

T = TypeVar("T")
COLUMN = re.compile(r"`(?:\$\.)?(\w+)`")
"""The column in a message of msgspec or of a row's own check: the last name in backquotes."""
MISFITS = (gettext_noop("Object missing required field `{field}`"), gettext_noop("Expected `{wanted}`, got `{given}`"))
"""What msgspec says of cells."""
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """What is wrong in a file of rows, and where."""

    line: int
    """Number of the line; the header is line 1."""
    column: str
    """Name of the column; "" where the whole line is meant."""
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a CSV file below its header."""

    number: int
    cells: Mapping[str, str]
    """The cells that are not empty, by column."""
    n_cells: int


def rows_of(name: str, kind: type[T]) -> list[T]:
    """Return the rows of a table of the catalogue, then the reader's own ones of it; see ``read_rows``."""
    rows, own = read_rows(DATA / name, kind), own_file(name)
    return rows + (read_rows(own, kind) if own is not None and own.exists() else [])


def read_rows(file: Path, kind: type[T]) -> list[T]:
    """Return the rows of a CSV file as dataclasses, whose fields are named like its columns.

    An empty cell has the field's default, and columns without a field are left out.

    Raises:
        InvalidSpec: The file cannot be read, or a cell is not what its column holds; the message names the line and the column.
    """
    rows = []
    for line in lines_of(file):
        row = decoded(line, kind)
        if isinstance(row, RowProblem):
            column = gettext(" in column `{column}`").format(column=row.column) if row.column else ""
            raise InvalidSpec(
                gettext("{file}, line {line}: {cause}{column}.").format(
                    file=file, line=row.line, cause=row.cause, column=column
                ),
                remedy=gettext("Correct this line of the file."),
            )
        rows.append(row)
    missing = [name for name in _needed(kind) if name not in header_of(file)] if not rows else []
    if missing:
        raise InvalidSpec(
            gettext("{file} has no column {column}.").format(file=file, column=missing[0]),
            remedy=gettext("Begin it with the names of its columns."),
        )
    return rows


def _needed(kind: type[object]) -> list[str]:
    """Return the columns without which no row can be read."""
    return [name for name, p in inspect.signature(kind).parameters.items() if p.default is inspect.Parameter.empty]


def problems_of(file: Path, kind: type[object], *, columns: tuple[str, ...]) -> list[RowProblem]:
    """Return everything that is wrong in a CSV file, in the order of its lines.

    Args:
        file: What is read.
        kind: Dataclass of its rows.
        columns: All columns that such a file may have.

    Raises:
        InvalidSpec: It cannot be read at all.
    """
    head, lines = header_of(file), list(lines_of(file))
    problems = [
        RowProblem(line=1, column=name, cause=gettext("there is no such column in this table"))
        for name in head
        if name and name not in columns
    ]
    problems += [
        RowProblem(line=1, column=name, cause=gettext("the column stands there twice"))
        for name in dict.fromkeys(head)
        if head.count(name) > 1
    ]
    missing = [name for name in _needed(kind) if name not in head]
    problems += [RowProblem(line=1, column=name, cause=gettext("the column is missing")) for name in missing]
    for line in lines if not missing else []:
        if line.n_cells != len(head):
            problems.append(
                RowProblem(
                    line=line.number,
                    column="",
                    cause=gettext("it has {n} cells, the header has {head}").format(n=line.n_cells, head=len(head)),
                )
            )
            continue
        row = decoded(line, kind)
        problems += [row] if isinstance(row, RowProblem) else []
    return problems


def header_of(file: Path) -> list[str]:
    """Return the names of the columns of a CSV file; [] where it is empty."""
    return next(_records(file), (0, []))[1]


def lines_of(file: Path) -> Iterator[Line]:
    """Yield the lines of a CSV file below its header; raises ``InvalidSpec`` where it cannot be read."""
    records = _records(file)
    _, head = next(records, (0, []))
    for number, record in records:
        cells = {name: cell.strip() for name, cell in zip(head, record, strict=False) if name and cell.strip()}
        yield Line(number=number, cells=cells, n_cells=len(record))


def _records(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a CSV file that are not empty, each with the number of its last line."""
    try:
        path = file.expanduser()
        if path.stat().st_size > MOST_BYTES:
            raise InvalidSpec(
                gettext("{file} has more than {n} MiB.").format(file=file, n=MOST_BYTES >> 20),
                remedy=gettext("Give a smaller table."),
            )
        with path.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True)
            yield from ((reader.line_num, record) for record in reader if record)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidSpec(
            gettext("{file} cannot be read: {error}.").format(file=file, error=system_message(error)),
            remedy=gettext("Give a CSV file in UTF-8."),
        ) from error


def decoded(line: Line, kind: type[T]) -> T | RowProblem:
    """Return a line as a row, or what is wrong in it."""
    try:
        return msgspec.convert(line.cells, kind, strict=False)
    except msgspec.ValidationError as error:
        text = str(error).removesuffix(" - at `$`")
        found = COLUMN.findall(text)
        cause = in_readers_words(re.sub(r" - at `\$\.\w+`$|: `\w+`$", "", text), MISFITS)
        return RowProblem(line=line.number, column=found[-1] if found else "", cause=cause)
