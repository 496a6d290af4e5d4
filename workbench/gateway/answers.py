"""Reads an answer as it passes: how many tokens it has, and what must not be in it."""

import json
from typing import Any

from workbench.gateway.redaction import StreamRedactor, redacted
from workbench.gateway.validation import CheckedRequest

TAIL_BYTES = 4096


class StreamReader:
    """Counts tokens of an answer that passes; with ``redact`` the texts are changed on their way.

    Args:
        redact: Replace personal data and secrets.
        is_stream: Whether it comes as events.
    """

    def __init__(self, *, redact: bool, is_stream: bool) -> None:
        self._redact, self._is_stream = redact, is_stream
        self._redactors: dict[int, StreamRedactor] = {}
        self._held = b""
        self._tail = b""
        self._n_events = 0
        self.n_chunks = 0

    @property
    def n_tokens(self) -> int:
        """As the server counted them, else the events of a stream."""
        at = self._tail.rfind(b'"completion_tokens"')
        if at >= 0:
            digits = self._tail[at + 19 :].lstrip(b": \t\n")
            end = next((i for i, c in enumerate(digits) if not 0x30 <= c <= 0x39), len(digits))
            if end:
                return int(digits[:end])
        return self._n_events

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece as it came; give back what goes on."""
        self.n_chunks += 1
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if self._is_stream:
            self._n_events += chunk.count(b"data: {")
        if not self._redact:
            return chunk
        self._held += chunk
        if not self._is_stream:
            return b""
        *whole, self._held = self._held.split(b"\n\n")
        return b"".join(self._event(e) + b"\n\n" for e in whole)

    def end(self) -> bytes:
        """What was held back."""
        if not self._redact:
            return b""
        if self._is_stream:
            return self._held
        try:
            message = json.loads(self._held)
            for choice in message.get("choices", []):
                _change(choice, lambda text: redacted(text)[0])
            return json.dumps(message, ensure_ascii=False).encode()
        except (ValueError, AttributeError):
            return self._held

    def _event(self, event: bytes) -> bytes:
        if not event.startswith(b"data: {"):
            return event if event.strip() != b"data: [DONE]" else self._rest() + event
        try:
            message = json.loads(event[6:])
        except ValueError:
            return event
        for choice in message.get("choices") or ():
            redactor = self._redactors.setdefault(choice.get("index", 0), StreamRedactor())
            is_last = bool(choice.get("finish_reason"))
            _change(choice, lambda text, r=redactor, last=is_last: r.feed(text) + (r.end() if last else ""))
            if is_last and not _has_text(choice):
                _put(choice, redactor.end())
        return b"data: " + json.dumps(message, ensure_ascii=False).encode()

    def _rest(self) -> bytes:
        left = [(i, r.end()) for i, r in self._redactors.items()]
        events = [{"choices": [{"index": i, "text": text, "delta": {"content": text}}]} for i, text in left if text]
        return b"".join(b"data: " + json.dumps(e, ensure_ascii=False).encode() + b"\n\n" for e in events)


def _places(choice: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    found = [(choice, "text")] if isinstance(choice.get("text"), str) else []
    for name in ("delta", "message"):
        inner = choice.get(name)
        if isinstance(inner, dict) and isinstance(inner.get("content"), str):
            found.append((inner, "content"))
    return found


def _has_text(choice: dict[str, Any]) -> bool:
    return bool(_places(choice))


def _change(choice: dict[str, Any], how: Any) -> None:
    for place, name in _places(choice):
        place[name] = how(place[name])


def _put(choice: dict[str, Any], text: str) -> None:
    if not text:
        return
    if "delta" in choice:
        choice["delta"] = (choice["delta"] or {}) | {"content": text}
    else:
        choice["text"] = text


def without_secrets(asked: CheckedRequest) -> tuple[bytes, int]:
    """The request with personal data and secrets replaced, and how many there were."""
    n = 0

    def cleaned(value: Any) -> Any:
        nonlocal n
        if isinstance(value, str):
            text, found = redacted(value)
            n += len(found)
            return text
        if isinstance(value, list):
            return [cleaned(v) for v in value]
        if isinstance(value, dict):
            return {k: cleaned(v) if k in {"content", "text", "prompt"} else v for k, v in value.items()}
        return value

    body = {k: cleaned(v) if k in {"prompt", "messages"} else v for k, v in asked.body.items()}
    return json.dumps(body, ensure_ascii=False).encode(), n
