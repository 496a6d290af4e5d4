"""Redaction of answers while they are forwarded."""

from workbench.core.rows import Json
from workbench.gateway.answer_redaction import KEPT, EventRedactor, redacted_answer
from workbench.gateway.redaction import redact_text
from workbench.gateway.request_json import written
from workbench.gateway.validation import CheckedRequest

PROMPTS = frozenset({"prompt", "messages", "input", "instructions", "suffix"})


class StreamReader:
    """Reader of a forwarded answer, which replaces personal data and secrets with ``redact``."""

    def __init__(self, *, redact: bool, is_stream: bool) -> None:
        self._redact, self._is_stream = redact, is_stream
        self._events = EventRedactor()
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what is to be forwarded of the answer after one more chunk."""
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

    body = {k: cleaned(v) if k in PROMPTS else v for k, v in asked.forwarded.items()}
    return written(body), n
