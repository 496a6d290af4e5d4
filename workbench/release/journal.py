"""The journal of a rollout: a file from which any process resumes it, with all of its evidence."""

import os
import weakref
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec

from workbench.core.errors import StoreError
from workbench.core.language import gettext_noop
from workbench.release.rule import CanaryRule


class Phase(StrEnum):
    """Phase of a rollout, the last two final."""

    RUNNING = gettext_noop("running")
    PROMOTED = gettext_noop("promoted")
    ROLLED_BACK = gettext_noop("rolled back")


class Begin(msgspec.Struct, tag="begin", tag_field="what", frozen=True):
    """First line of a journal."""

    versions: tuple[str, str]
    rule: CanaryRule


class RequestEnded(msgspec.Struct, tag="request", tag_field="what", frozen=True, kw_only=True, omit_defaults=True):
    """Line for each request that ended."""

    share: float
    """Share of the new version when the request was assigned."""
    new: bool = False
    failed: bool = False
    ttft_s: float | None = None
    tpot_s: float | None = None
    server: str = ""
    user: str = ""


class AnswersCompared(msgspec.Struct, tag="answer", tag_field="what", frozen=True, kw_only=True, omit_defaults=True):
    """Line for each prompt of the gold set that the old version answered."""

    agrees: bool
    is_answered: bool = True
    """Whether the new version answered it too."""


class StepTaken(msgspec.Struct, tag="step", tag_field="what", frozen=True):
    """Line for each step after the first."""

    step: int


class End(msgspec.Struct, tag="end", tag_field="what", frozen=True):
    """Last line of a journal."""

    phase: Phase
    reason: str = msgspec.field(name="why")


Evidenced: TypeAlias = RequestEnded | AnswersCompared
Line: TypeAlias = Begin | StepTaken | End | Evidenced


class Journal:
    """File of JSON lines; an incomplete last line is dropped.

    Every line is with the operating system when it is written, and survives a kill of the process; beginning, steps and end are on the disk.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[Line] = []
        self._descriptor: int | None = None
        if file.is_file():
            raw = file.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            decoder = msgspec.json.Decoder(Line)
            try:
                self.lines = [decoder.decode(line) for line in whole.splitlines()]
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise StoreError(
                    f"{file} is not a rollout journal: {error}.", remedy="Restore the file, or begin another rollout."
                ) from error
            if len(whole) < len(raw):
                os.truncate(file, len(whole))

    def write(self, line: Line) -> None:
        """Append a line; one that is not evidence is on the disk when this returns."""
        if self._descriptor is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            weakref.finalize(self, os.close, self._descriptor)
        left = memoryview(msgspec.json.encode(line) + b"\n")
        while left:
            left = left[os.write(self._descriptor, left) :]
        if not isinstance(line, RequestEnded | AnswersCompared):
            os.fsync(self._descriptor)
