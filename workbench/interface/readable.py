"""What is said on a command line: a run's text stays text, and errors are cause, remedy and a status."""

import re
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from workbench.core.errors import WorkbenchError


def printable(text: str) -> str:
    """Return text without the control characters that a terminal obeys; ends of lines and tabs stay."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


class PlainConsole(Console):
    """A console to which text is text: no markup, no emoji code, no control sequence."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text as it is shown, in tables too."""
        return super().render_str(printable(text), **(options | {"markup": False, "emoji": False, "highlight": False}))


out, err = PlainConsole(), PlainConsole(stderr=True)


class ReadableErrors:
    """Shows a ``WorkbenchError`` as cause and remedy and ends with status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, WorkbenchError):
            complain(error)


def complain(error: WorkbenchError) -> NoReturn:
    """Show cause and remedy on the error stream, then end with status 2."""
    show_failure(error.cause, error.remedy)
    raise typer.Exit(2)


def show_failure(cause: str, remedy: str) -> None:
    """Show what failed, and what to do, on the error stream."""
    err.print(Text(printable(cause), style="bold red"))
    err.print(remedy)
