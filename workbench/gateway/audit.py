"""Audit log: one JSON line for each request, without prompts, answers or keys."""

import json
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

KEPT = (
    *("id", "path", "client", "tenant", "status", "code", "stream", "cached", "redacted"),
    *("took_s", "ttft_s", "prompt_tokens", "answer_tokens"),
)
"""Fields that a line of the log may hold."""


@dataclass(slots=True, kw_only=True)
class LogEntry:
    """What is recorded of one request; None means not known, or not yet."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    path: str
    client: str
    """Address of the client."""
    tenant: str | None = None
    status: int | None = None
    """HTTP status."""
    code: str | None = None
    """Code of the reason why the request was refused, or failed."""
    stream: bool | None = None
    cached: bool | None = None
    """Whether its answer came from the cache."""
    redacted: int | None = None
    """Personal data and secrets that were replaced in its prompt."""
    degraded: str | None = None
    """How the request was degraded while requests waited too long."""
    version: str | None = None
    """Version of the model that answers, during a rollout."""
    took_s: float | None = None
    ttft_s: float | None = None
    """Time until the first content of a stream."""
    streamed_s: float | None = None
    """Time from the first content of a stream to its end."""
    tpot_s: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


class AuditLog:
    """Appends JSON lines to a file, where one is named; a full disk loses lines, not answers."""

    def __init__(self, file: str | None) -> None:
        self._out: TextIO | None = Path(file).expanduser().open("a", encoding="utf-8") if file else None
        self.n_lost = 0

    def write(self, entry: LogEntry) -> None:
        """Append a line with the fields that may be kept."""
        if self._out is None:
            return
        at = datetime.now(tz=UTC).isoformat(timespec="milliseconds")
        values = {name: getattr(entry, name) for name in KEPT}
        line = {name: value for name, value in values.items() if value is not None or name == "tenant"}
        try:
            self._out.write(json.dumps({"at": at} | line) + "\n")
            self._out.flush()
        except OSError as error:
            if not self.n_lost:
                print(f"The audit log cannot be written: {error}.", file=sys.stderr)
            self.n_lost += 1

    def close(self) -> None:
        """Close the file of the log."""
        if self._out is not None:
            self._out.close()
