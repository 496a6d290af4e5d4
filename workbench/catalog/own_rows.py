"""The reader's own devices, models and prices: CSV files in their folder, with the columns of the catalogue's tables."""

import csv
import io
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

from workbench.catalog.paths import DATA, workbench_home
from workbench.core.errors import NotAvailable, system_reason
from workbench.core.language import gettext

T = TypeVar("T")
OWN_FILES = {
    "hardware.csv": "devices.csv",
    "models.csv": "models.csv",
    "prices.csv": "prices.csv",
    "shapes.json": "shapes.json",
}
"""Name of the reader's file by the catalogue's table, or its file of shapes, that it adds to."""


def own_file(table: str) -> Path | None:
    """Return the reader's file that adds to a table of the catalogue, whether it exists or not; None where none can."""
    return workbench_home() / OWN_FILES[table] if table in OWN_FILES else None


def cached_while_unchanged(*tables: str) -> Callable[[Callable[[], T]], Callable[[], T]]:
    """Make a function without arguments keep its result until the reader's file for one of some tables changes."""

    def decorate(function: Callable[[], T]) -> Callable[[], T]:
        @lru_cache(maxsize=4)
        def kept(_state: tuple[object, ...]) -> T:
            return function()

        @wraps(function)
        def current() -> T:
            return kept(tuple(_state(workbench_home() / OWN_FILES[table]) for table in tables))

        return current

    return decorate


def _state(file: Path) -> tuple[str, int, int, int] | None:
    """Return what changes when a file does; None where there is none."""
    try:
        seen = file.stat()
    except OSError:
        return None
    return str(file), seen.st_mtime_ns, seen.st_size, seen.st_ino


def catalogue_columns(table: str) -> tuple[str, ...]:
    """Return the columns of a table of the catalogue."""
    with (DATA / table).open(newline="", encoding="utf-8") as lines:
        return tuple(next(csv.reader(lines)))


def write_rows(file: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write a CSV file as a whole: it is the old one or the new one, never a part.

    Raises:
        NotAvailable: The folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(file, text.getvalue())


def write_whole(file: Path, text: str) -> None:
    """Write a text file so that it is the old one or the new one, never a part; raises ``NotAvailable``."""
    part: str | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as target:
            target.write(text)
            target.flush()
            os.fsync(target.fileno())
        os.chmod(part, 0o644)  # noqa: PTH101 - the name of a temporary file is text
        Path(part).replace(file)
    except OSError as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        raise NotAvailable(
            gettext("{file} cannot be written: {reason}.").format(file=file, reason=system_reason(error)),
            remedy=gettext("Set WORKBENCH_HOME to a writable folder."),
        ) from error
