"""Finished parts of a measurement in its folder, so that a second call goes on from there."""

import json
import os
from pathlib import Path
from typing import Any

from workbench.core.progress import SCRATCH


class Kept:
    """Parts by name, each there whole or not at all; and a scratch folder that may be lost."""

    def __init__(self, folder: Path) -> None:
        self._parts, self.scratch = folder / "parts", folder / SCRATCH
        for made in (self._parts, self.scratch):
            made.mkdir(parents=True, exist_ok=True)

    def _file(self, name: str) -> Path:
        return self._parts / (name.replace(" ", "_").replace(":", "-") + ".json")

    def read(self, name: str) -> Any:
        """A part, or None."""
        return json.loads(self._file(name).read_text()) if self._file(name).exists() else None

    def write(self, name: str, value: Any) -> None:
        """Keep a part."""
        unfinished = self._file(name).with_suffix(".part")
        unfinished.write_text(json.dumps(value))
        os.replace(unfinished, self._file(name))
