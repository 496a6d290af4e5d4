"""Token counts and redaction of answers while they are forwarded."""

import json
import re

from workbench.core.rows import Json
from workbench.gateway.answer_redaction import KEPT, EventRedactor, redacted_answer
from workbench.gateway.redaction import redact_text
from workbench.gateway.validation import CheckedRequest

TAIL_BYTES = 4096
COUNTED = re.compile(rb'"completion_tokens"[: \t\n]*([0-9]+)')


class StreamReader:
    """Counter of the tokens of a forwarded answer; with ``redact`` it also replaces personal data and secrets."""

    def __init__(self, *, redact: bool, is_stream: bool) -> None:
        self._redact, self._is_stream = redact, is_stream
        self._events = EventRedactor()
        self._held = b""
        self._tail = b""
        self._n_events = 0
        self.n_chunks = 0

    @property
    def n_tokens(self) -> int:
        """Tokens as the server counted them, or else the events of the stream."""
        counted = COUNTED.findall(self._tail)
        return int(counted[-1]) if counted else self._n_events

    def feed(self, chunk: bytes) -> bytes:
        """Return what is to be forwarded of the answer after one more chunk."""
        self.n_chunks += 1
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if self._is_stream:
            self._n_events += chunk.count(b"data: {")
        if not self._redact:
            return chunk
        if self._is_stream:
            return self._events.feed(chunk)
        self._held += chunk
        return b""

    def end(self) -> bytes:
        """Return what was held back until the end of the answer."""
        if not self._redact:
            return b""
        return self._events.end() if self._is_stream else redacted_answer(self._held)


def redact_request(asked: CheckedRequest) -> tuple[bytes, int]:
    """Return the request with personal data and secrets replaced, and how many were replaced."""
    n = 0

    def cleaned(value: Json) -> Json:
        nonlocal n
        if isinstance(value, str):
            text, replaced = redact_text(value)
            n += len(replaced)
            return text
        if isinstance(value, list):
            return [cleaned(v) for v in value]
        if isinstance(value, dict):
            return {k: v if k in KEPT else cleaned(v) for k, v in value.items()}
        return value

    body = {k: cleaned(v) if k in {"prompt", "messages"} else v for k, v in asked.body.items()}
    return json.dumps(body, ensure_ascii=False).encode(), n
