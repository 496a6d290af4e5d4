"""Redaction of answers while they are forwarded."""

import json
from collections.abc import Callable
from functools import partial

from workbench.core.rows import Json
from workbench.gateway.redaction import StreamRedactor, redact_text
from workbench.gateway.validation import CheckedRequest

PROMPTS = frozenset({"prompt", "messages", "input", "instructions", "suffix"})
TEXTS = frozenset({"content", "text", "prompt", "output", "arguments", "refusal"})


class StreamReader:
    """Reader of a forwarded answer, which replaces personal data and secrets with ``redact``."""

    def __init__(self, *, redact: bool, is_stream: bool) -> None:
        self._redact, self._is_stream = redact, is_stream
        self._redactors: dict[int, StreamRedactor] = {}
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what is to be forwarded of the answer after one more chunk."""
        if not self._redact:
            return chunk
        self._held += chunk
        if not self._is_stream:
            return b""
        *whole, self._held = self._held.split(b"\n\n")
        return b"".join(self._event(e) + b"\n\n" for e in whole)

    def end(self) -> bytes:
        """Return what was held back until the end of the answer."""
        if not self._redact:
            return b""
        if self._is_stream:
            return self._held
        try:
            message: Json = json.loads(self._held)
        except ValueError:
            return self._held
        for choice in _choices(message):
            _change(choice, lambda text: redact_text(text)[0])
        return json.dumps(message, ensure_ascii=False).encode()

    def _event(self, event: bytes) -> bytes:
        if not event.startswith(b"data: {"):
            return event if event.strip() != b"data: [DONE]" else self._rest() + event
        try:
            message: Json = json.loads(event[6:])
        except ValueError:
            return event
        for choice in _choices(message):
            index, delta = choice.get("index"), choice.get("delta")
            redactor = self._redactors.setdefault(index if isinstance(index, int) else 0, StreamRedactor())
            is_last = bool(choice.get("finish_reason"))
            _change(choice, partial(_feed, redactor, is_last=is_last))
            if is_last and not _places(choice) and (text := redactor.end()):
                rest: dict[str, Json] = {"content": text}
                if "delta" in choice:
                    choice.update(delta=delta | rest if isinstance(delta, dict) else rest)
                else:
                    choice.update(text=text)
        return b"data: " + json.dumps(message, ensure_ascii=False).encode()

    def _rest(self) -> bytes:
        left = [(i, r.end()) for i, r in self._redactors.items()]
        events = [{"choices": [{"index": i, "text": text, "delta": {"content": text}}]} for i, text in left if text]
        return b"".join(b"data: " + json.dumps(e, ensure_ascii=False).encode() + b"\n\n" for e in events)


def _feed(redactor: StreamRedactor, text: str, *, is_last: bool) -> str:
    return redactor.feed(text) + (redactor.end() if is_last else "")


def _choices(message: Json) -> list[dict[str, Json]]:
    """Return the choices of a message; an answer without any, such as an error, has none."""
    choices = message.get("choices") if isinstance(message, dict) else None
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _places(choice: dict[str, Json]) -> list[tuple[dict[str, Json], str, str]]:
    """Return each text of a choice with the object and the name that it stands under."""
    objects = ((choice, "text"), (choice.get("delta"), "content"), (choice.get("message"), "content"))
    return [
        (inner, name, text)
        for inner, name in objects
        if isinstance(inner, dict) and isinstance(text := inner.get(name), str)
    ]


def _change(choice: dict[str, Json], replacement: Callable[[str], str]) -> None:
    for inner, name, text in _places(choice):
        inner[name] = replacement(text)


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
            return {k: cleaned(v) if k in TEXTS else v for k, v in value.items()}
        return value

    body = {k: cleaned(v) if k in PROMPTS else v for k, v in asked.forwarded.items()}
    return json.dumps(body, ensure_ascii=False).encode(), n
