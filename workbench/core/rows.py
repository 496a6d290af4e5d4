"""What a run holds, as types: each kind of row and of raw samples is one frozen dataclass.

A field's unit is the end of its name, its meaning the text below it; ``docs/json.md`` is made of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import ClassVar, Self, TypeAlias

from workbench.core.errors import WorkbenchError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A value as JSON holds it."""


class Row:
    """Base of the dataclasses of rows. Where a run holds several kinds, each has a name of its own as ``part``."""

    __slots__ = ()
    part: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Base of the dataclasses of raw samples; the class itself holds none."""

    def in_order(self) -> Mapping[str, Sequence[float]]:
        """Return series, by quantity, whose places stand for the same text, question or request in every run of the same spec."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something that could not be measured, while the rest of the run could."""

    cause: str
    remedy: str
    subject: str | None = None
    """What failed: a method, an engine, a format."""
    details: str | None = None
    """What the part that failed printed."""

    @classmethod
    def of(cls, error: WorkbenchError, subject: str | None = None) -> Self:
        """Return the failure that an error describes."""
        return cls(cause=error.cause, remedy=error.remedy, subject=subject)

    def __str__(self) -> str:
        return f"{self.subject}: {self.cause}" if self.subject else self.cause


def plain(value: object) -> Json:
    """Return a value of a run as JSON holds it; a row of several kinds begins with its ``part``.

    Raises:
        TypeError: The value is made of something that JSON cannot hold.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value if value is None else _atom(value)
        case Mapping():
            return {str(k): plain(v) for k, v in value.items()}
        case list() | tuple():
            return [plain(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        part: dict[str, Json] = {"part": value.part} if isinstance(value, Row) and value.part else {}
        return part | {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    raise TypeError(f"{type(value).__name__} is no value of a run")


def _atom(value: bool | int | float | str) -> Json:
    """Return the plain value of a subclass, such as a member of an enumeration."""
    return (
        value
        if type(value) in (bool, int, float, str)
        else next(b(value) for b in (int, float, str) if isinstance(value, b))
    )


def flat(row: object) -> dict[str, Json]:
    """Return the fields of a row that fit into a cell of a table, by name; a nested row's follow its name and a dot."""
    return _flat(plain(row), "")


def _flat(value: Json, name: str) -> dict[str, Json]:
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in _flat(part, f"{name}.{key}" if name else key).items()}
    return {} if isinstance(value, list) else {name: value}
