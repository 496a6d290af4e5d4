"""Errors on the command line: cause, remedy and a status."""

from collections.abc import Callable
from typing import NoReturn, TypeVar

import typer
from rich.console import Console

from workbench.core.errors import WorkbenchError

err = Console(stderr=True)
Number = TypeVar("Number", int, float)


class ReadableErrors:
    """Shows a ``WorkbenchError`` as cause and remedy and ends with status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, WorkbenchError):
            complain(error)


def complain(error: WorkbenchError) -> NoReturn:
    """Cause and remedy on the error stream, then status 2."""
    err.print(f"[bold red]{error.cause}[/bold red]\n{error.remedy}", highlight=False)
    raise typer.Exit(2)


def numbers(text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """A comma-separated list; raises ``typer.BadParameter`` for anything else."""
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise typer.BadParameter(f"{text!r} is not a list of {what} such as 1,8.") from error
