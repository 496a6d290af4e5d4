"""Tables as data: the title of each column beside what it shows of a row."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Columns: TypeAlias = Mapping[str, Callable[[T], str]]


def cells(columns: Columns[T], row: T) -> tuple[str, ...]:
    """Return what each column shows of a row."""
    return tuple(show(row) for show in columns.values())


def cells_of(columns: Columns[T], rows: Iterable[T]) -> list[tuple[str, ...]]:
    """Return the cells of each row."""
    return [cells(columns, row) for row in rows]
