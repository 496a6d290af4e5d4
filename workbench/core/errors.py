"""Mistakes that a reader can cure: each says what happened and what to do."""

import re
from json import JSONDecodeError

from workbench.core.language import gettext, gettext_noop

SHOWN = 300  # characters of a library's message
LONG = 160  # characters above which the first sentence of a message stands for it
SYSTEM_MESSAGES = (
    gettext_noop("No such file or directory"),
    gettext_noop("Permission denied"),
    gettext_noop("Is a directory"),
    gettext_noop("Not a directory"),
    gettext_noop("File exists"),
    gettext_noop("File name too long"),
    gettext_noop("No space left on device"),
    gettext_noop("Read-only file system"),
    gettext_noop("Connection refused"),
)
"""What an ``OSError`` says most often."""
JSON_MESSAGES = (
    gettext_noop("Expecting value"),
    gettext_noop("Extra data"),
    gettext_noop("Expecting ',' delimiter"),
    gettext_noop("Expecting ':' delimiter"),
    gettext_noop("Expecting property name enclosed in double quotes"),
    gettext_noop("Unterminated string starting at"),
    gettext_noop("Invalid control character at"),
)
"""What a ``JSONDecodeError`` says most often."""
SENTENCE_END = re.compile(r"(?<=[\w)\]'\"])[.!] +(?=[A-Z])")


class WorkbenchError(Exception):
    """A cause and its remedy.

    Args:
        cause: What went wrong, with the offending value.
        remedy: What the reader can do about it.
    """

    def __init__(self, cause: str, *, remedy: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause} {self.remedy}"


def system_message(error: BaseException) -> str:
    """Return what an error says; messages of the system and of JSON are in the reader's language."""
    if isinstance(error, JSONDecodeError):
        place = gettext("{what}: line {line} column {column} (char {at})")
        return place.format(what=gettext(error.msg), line=error.lineno, column=error.colno, at=error.pos)
    reason = error.strerror if isinstance(error, OSError) else None
    return str(error).replace(reason, gettext(reason), 1) if reason else str(error)


def system_reason(error: OSError) -> str:
    """Return why the system refused, in the reader's language."""
    return gettext(error.strerror) if error.strerror else str(error)


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message without its full stop, with the next one where it announces that, or the name of the error.

    Of a long line the first sentence is returned; a key that is missing or not known is named as such.
    """
    lines = [line.strip() for line in system_message(error).splitlines() if line.strip()]
    said = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    if isinstance(error, KeyError):
        said = f"{type(error).__name__}: {said}"
    if len(said) > LONG:
        said = SENTENCE_END.split(said, maxsplit=1)[0]
    return said[:SHOWN].rstrip(" .:,") if said else type(error).__name__


class InvalidSpec(WorkbenchError):
    """A value in a spec that no measurement can be made with."""


class NotAModel(WorkbenchError):
    """A path or id that no causal language model can be read from."""


class UnknownStorage(NotAModel):
    """Weights that are stored in a way whose bytes cannot be computed from the configuration."""


class NotAvailable(WorkbenchError):
    """A part that this machine or this environment lacks."""


class DoesNotFit(WorkbenchError):
    """More memory or disk is needed than there is."""


class StoreError(WorkbenchError):
    """A stored run or job that cannot be read or written."""
