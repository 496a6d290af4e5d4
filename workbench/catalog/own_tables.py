"""Adding to the reader's own tables, and checking files of rows."""

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench.catalog.csv_rows import Line, RowProblem, decoded, header_of, lines_of, problems_of
from workbench.catalog.model_rows import ModelRow
from workbench.catalog.own_rows import OWN_FILES, catalogue_columns, write_rows
from workbench.catalog.paths import DATA, workbench_home
from workbench.catalog.price_rows import PriceRow, price_problems
from workbench.catalog.tables import HardwareRow
from workbench.core.errors import InvalidSpec, NotAvailable, system_reason
from workbench.core.language import gettext

Cells = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTable:
    """A table of the catalogue that readers add rows to."""

    word: str
    """The command of its rows, such as devices."""
    table: str
    """Name of the catalogue's file."""
    kind: type[object]
    """Dataclass of a row."""
    key: tuple[str, ...]
    """Columns that say which row is meant."""
    also: Callable[[Path], list[RowProblem]] | None = None
    """A check of whole files that knows other tables, instead of the check of single rows."""

    @property
    def file(self) -> Path:
        """Return the reader's file, whether it exists or not."""
        return workbench_home() / OWN_FILES[self.table]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns, those of the catalogue's file."""
        return catalogue_columns(self.table)

    def problems(self, file: Path) -> list[RowProblem]:
        """Return everything that is wrong in a file of such rows; raises ``InvalidSpec`` where it cannot be read."""
        found = self.also(file) if self.also else problems_of(file, self.kind, columns=self.columns)
        return found or self._repeated(file)

    def _repeated(self, file: Path) -> list[RowProblem]:
        """Return a problem for each row of a key that an earlier line has."""
        first: dict[tuple[str, ...], int] = {}
        problems = []
        for line in lines_of(file):
            key = self.key_of(line.cells)
            if key in first:
                cause = gettext("line {line} has {key} already").format(
                    line=first[key], key=" ".join(filter(None, key))
                )
                problems.append(RowProblem(line=line.number, column=self.key[0], cause=cause))
            first.setdefault(key, line.number)
        return problems

    def key_of(self, cells: Cells) -> tuple[str, ...]:
        """Return what says which row some cells are."""
        return tuple(cells.get(column, "") for column in self.key)


DEVICES = OwnTable(word="devices", table="hardware.csv", kind=HardwareRow, key=("id",))
MODELS = OwnTable(word="models", table="models.csv", kind=ModelRow, key=("model",))
PRICES = OwnTable(
    word="prices",
    table="prices.csv",
    kind=PriceRow,
    key=("provider", "instance", "hardware_id", "region", "price_date"),
    also=price_problems,
)


def rows_in(table: OwnTable) -> list[Cells]:
    """Return the rows of the reader's own file as cells; [] where there is none, raises ``InvalidSpec`` where one is wrong."""
    if not table.file.exists():
        return []
    require_right(table, table.file)
    return [line.cells for line in lines_of(table.file)]


def catalogue_cells(table: OwnTable, name: str) -> Cells | None:
    """Return the cells of a row by the first column of its key, the reader's own before the catalogue's; None without one."""
    for rows in (rows_in(table), [line.cells for line in lines_of(DATA / table.table)]):
        for cells in rows:
            if cells.get(table.key[0]) == name:
                return cells
    return None


def require_right(table: OwnTable, file: Path) -> None:
    """Raise ``InvalidSpec`` with the first of the problems of a file."""
    problems = table.problems(file)
    if problems:
        more = gettext(" ({n} more)").format(n=len(problems) - 1) if len(problems) > 1 else ""
        raise InvalidSpec(
            gettext("{file}, {problem}{more}.").format(file=file, problem=shown_problem(problems[0]), more=more),
            remedy=gettext("`workbench {word} check` lists all; correct the file, nothing was changed.").format(
                word=table.word
            ),
        )


def shown_problem(problem: RowProblem) -> str:
    """Return a problem as a part of a sentence."""
    if problem.column:
        place = gettext("line {line}, column `{column}`").format(line=problem.line, column=problem.column)
    else:
        place = gettext("line {line}").format(line=problem.line)
    return gettext("{place}: {text}").format(place=place, text=problem.cause)


def add_rows(table: OwnTable, added: Sequence[Cells], *, does_replace: bool = False) -> Path:
    """Add rows to the reader's own file, which is written as a whole, and return its path.

    Args:
        table: Whose rows they are.
        added: Cells by column; empty ones may be left out.
        does_replace: Whether rows of the same key are replaced.

    Raises:
        InvalidSpec: A row is wrong, is there already, or the file holds wrong rows; nothing is written.
        NotAvailable: The folder cannot be written.
    """
    with _locked(table.file):
        rows = {table.key_of(cells): cells for cells in rows_in(table)}
        for number, cells in enumerate(added, start=1):
            _require_row(table, cells, number=number, n=len(added))
            key = table.key_of(cells)
            if key in rows and not does_replace:
                raise InvalidSpec(
                    gettext("{key} is in {file} already.").format(key=" ".join(filter(None, key)), file=table.file),
                    remedy=gettext("Replace it with --replace."),
                )
            rows[key] = cells
        columns = header_of(table.file) if table.file.exists() else []
        write_rows(table.file, list(dict.fromkeys([*table.columns, *columns])), list(rows.values()))
    return table.file


def _require_row(table: OwnTable, cells: Cells, *, number: int, n: int) -> None:
    unknown = [column for column in cells if column not in table.columns]
    if unknown:
        raise InvalidSpec(
            gettext("The table of {word} has no column {column}.").format(word=table.word, column=repr(unknown[0])),
            remedy=gettext("It has: {names}.").format(names=", ".join(table.columns)),
        )
    given = {column: cell.strip() for column, cell in cells.items() if cell.strip()}
    problem = decoded(Line(number=number, cells=given, n_cells=len(cells)), table.kind)
    if isinstance(problem, RowProblem):
        which = gettext("Row {i} of {n}").format(i=number, n=n) if n > 1 else gettext("The row")
        column = gettext(", column `{column}`").format(column=problem.column) if problem.column else ""
        raise InvalidSpec(
            gettext("{place}: {text}.").format(place=which + column, text=problem.cause),
            remedy=gettext("Correct the value; nothing was written."),
        )


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock of a file while it is read and written, so that no other process's row is lost."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = (file.parent / f".{file.name}.lock").open("w")
    except OSError as error:
        raise NotAvailable(
            gettext("{folder} cannot be written: {reason}.").format(folder=file.parent, reason=system_reason(error)),
            remedy=gettext("Set WORKBENCH_HOME to a writable folder."),
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
