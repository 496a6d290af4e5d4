"""Finished parts of a measurement in its folder, so that a second call goes on from there."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from workbench.core.progress import SCRATCH
from workbench.core.rows import plain

T = TypeVar("T")
P = ParamSpec("P")


class Kept:
    """Parts by name, each there whole or not at all; and a scratch folder that may be lost."""

    def __init__(self, folder: Path) -> None:
        self._parts, self.scratch = folder / "parts", folder / SCRATCH
        for made in (self._parts, self.scratch):
            made.mkdir(parents=True, exist_ok=True)

    def _file(self, name: str) -> Path:
        return self._parts / (name.replace(" ", "_").replace(":", "-") + ".json")

    def read(self, name: str, kind: type[T]) -> T | None:
        """Return a part; None where it is not there, or was kept by a version that wrote other fields."""
        file = self._file(name)
        return _part(file, kind) if file.exists() else None

    def once(self, name: str, kind: type[T], made: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return a part, which is made by a call and kept unless it is there."""
        part = self.read(name, kind)
        if part is None:
            part = made(*args, **options)
            self.write(name, part)
        return part

    def named(self, beginning: str, kind: type[T]) -> dict[str, T]:
        """Return the parts whose names begin so, by name."""
        found = {file.stem: _part(file, kind) for file in sorted(self._parts.glob(f"{beginning}*.json"))}
        return {name: part for name, part in found.items() if part is not None}

    def files(self) -> dict[str, str]:
        """Return the text of all parts by file name, for another machine to go on from."""
        return {file.name: file.read_text() for file in sorted(self._parts.glob("*.json"))}

    def add(self, files: Mapping[str, str]) -> None:
        """Keep parts that another machine has finished."""
        for name, text in files.items():
            self._keep(self._parts / name, text)

    def write(self, name: str, value: object) -> None:
        """Keep a part, whole or not at all."""
        self._keep(self._file(name), json.dumps(plain(value)))

    @staticmethod
    def _keep(file: Path, text: str) -> None:
        unfinished = file.with_suffix(".part")
        unfinished.write_text(text)
        os.replace(unfinished, file)


def _part(file: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(json.loads(file.read_text()), kind, str_keys=True)
    except msgspec.ValidationError:
        return None
