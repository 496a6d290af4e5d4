"""Who asked when, how long it took and what became of it: a line for each request, without prompts, answers or keys."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

KEPT = frozenset(
    {
        "id",
        "path",
        "client",
        "tenant",
        "status",
        "code",
        "took_s",
        "ttft_s",
        "prompt_tokens",
        "answer_tokens",
        "stream",
        "cached",
        "redacted",
    }
)


class AuditLog:
    """Appends JSON lines; a disk that is full costs lines and not answers.

    Args:
        file: None writes nothing.
    """

    def __init__(self, file: str | None) -> None:
        self._out: TextIO | None = Path(file).expanduser().open("a", encoding="utf-8") if file else None
        self.n_lost = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a line of the fields that may be kept."""
        if self._out is None:
            return
        line = {"at": datetime.now(tz=UTC).isoformat(timespec="milliseconds")} | {
            k: v for k, v in row.items() if k in KEPT
        }
        try:
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()
        except OSError as error:
            if not self.n_lost:
                print(f"The audit log cannot be written: {error}.", file=sys.stderr)
            self.n_lost += 1

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()
