"""Redaction of whole answers and of streams of events: every text of an answer but the names that a client needs to read it."""

import json
import re
from collections.abc import Callable

from workbench.core.rows import Json
from workbench.gateway.redaction import StreamRedactor, redact_text
from workbench.gateway.request_json import written

KEPT = frozenset(
    {
        "id",
        "object",
        "model",
        "type",
        "role",
        "name",
        "finish_reason",
        "stop_reason",
        "status",
        "system_fingerprint",
        "service_tier",
    }
    | {"item_id", "response_id", "previous_response_id", "call_id", "event", "encrypted_content"}
)
"""Fields that name things and hold nothing that a model wrote."""
LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
ANY_LINE_END = re.compile(rb"\r\n|\n|\r")
ENDS = ("done", "stop", "completed", "failed", "incomplete")
"""Last words of the types of events that end a text."""
Place = tuple[str, ...]


def redacted_answer(body: bytes) -> bytes:
    """Return a whole answer in JSON with every text redacted; what is not JSON is redacted as text."""
    try:
        message: Json = json.loads(body)
    except ValueError:
        return redact_text(body.decode("utf-8", "replace"))[0].encode()
    return written(_redacted(message))


class EventRedactor:
    """Redaction of a stream of server-sent events, which are read as the WHATWG's standard frames them and written in one form."""

    def __init__(self) -> None:
        self._held = b""
        self._lines: list[bytes] = []
        self._redactors: dict[Place, StreamRedactor] = {}
        self._last: dict[Place, tuple[list[bytes], dict[str, Json]]] = {}

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that one more piece completes."""
        self._held += chunk
        *lines, self._held = LINE_END.split(self._held)
        return b"".join(self._line(line) for line in lines)

    def end(self) -> bytes:
        """Return the last event, even without the empty line that should end it, and all that was held back."""
        lines, self._held = ANY_LINE_END.split(self._held), b""
        return b"".join(self._line(line) for line in (*lines, b"")) + self._rest(())

    def _line(self, line: bytes) -> bytes:
        if line:
            self._lines.append(line)
            return b""
        lines, self._lines = self._lines, []
        return self._event(lines) if lines else b""

    def _event(self, lines: list[bytes]) -> bytes:
        """Return an event with its data redacted; its other fields as they came, and comments without their text."""
        lines = [line.removeprefix(b"\xef\xbb\xbf") for line in lines]
        others = [b":" if line.startswith(b":") else line for line in lines if not re.match(rb"data(?::|\Z)", line)]
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        if not data:
            return _framed(others, None)
        if data.strip() == b"[DONE]":
            return self._rest(()) + _framed(others, data)
        try:
            message: Json = json.loads(data)
        except ValueError:
            return _framed(others, redact_text(data.decode("utf-8", "replace"))[0].encode())
        if isinstance(message, dict):
            return self._message(others, message)
        return _framed(others, written(_redacted(message)))

    def _message(self, others: list[bytes], message: dict[str, Json]) -> bytes:
        kind = str(message.get("type", ""))
        if "choices" not in message and not kind.endswith("delta"):
            return self._rest_of(message, kind) + _framed(others, written(_redacted(message)))
        last = (others, message)

        def decided(place: Place, text: str) -> str:
            self._last[place] = last
            return self._redactors.setdefault(place, StreamRedactor()).feed(text)

        root = _root(message)
        changed = _changed(message, root, decided)
        front = (
            b"".join(self._rest((*root, "choices", index)) for index in _finished(message))
            if _finished(message)
            else b""
        )
        return self._before_last(root, changed, front) + _framed(others, written(changed))

    def _rest_of(self, message: dict[str, Json], kind: str) -> bytes:
        """Return what is held back of the texts that an event ends: those of its item where it names one, all of them otherwise."""
        if not kind.endswith(ENDS):
            return b""
        if "output_index" not in message:
            return self._rest(())
        item = f"output_index {message['output_index']}"
        return b"".join(self._rest(place) for place in self._redactors if place[1] == item)

    def _before_last(self, root: Place, changed: Json, front: bytes) -> bytes:
        """Return an event with the texts of a last event, which come before what is left of them, and then the rest."""
        if not front:
            return b""
        return _framed([], written(_unfinished(changed))) + front if _cleared(changed, root) else front

    def _rest(self, before: Place) -> bytes:
        """Return what is still held back of the texts below a place, each in an event like the last one that held it."""
        out = b""
        for place, redactor in self._redactors.items():
            if place[: len(before)] == before and (text := redactor.end()):
                others, message = self._last[place]
                event = _changed(message, _root(message), _only(place, text))
                out += _framed(others, written(_unfinished(event)))
        return out


def _only(place: Place, rest: str) -> Callable[[Place, str], str]:
    return lambda at, text: rest if at == place else ""  # noqa: ARG005


def _cleared(message: Json, root: Place) -> bool:
    """Empty the texts of a message; return whether there were any."""
    texts: list[str] = []

    def empty(place: Place, text: str) -> str:  # noqa: ARG001
        texts.append(text)
        return ""

    emptied = _changed(message, root, empty)
    if isinstance(message, dict) and isinstance(emptied, dict):
        message.update(emptied)
    return any(texts)


def _root(message: dict[str, Json]) -> Place:
    """Return what tells the texts of an event from those of others: its type and its numbers."""
    return (str(message.get("type", "")), *_numbers(message))


def _numbers(message: dict[str, Json]) -> Place:
    names = ("output_index", "content_index", "summary_index", "index")
    return tuple(f"{name} {message[name]}" for name in names if name in message)


def _changed(value: Json, place: Place, change: Callable[[Place, str], str]) -> Json:
    """Return a message with each text replaced; members of a list are named by their index, where they have one."""
    if isinstance(value, str):
        return change(place, value)
    if isinstance(value, list):
        names = [str(v["index"]) if isinstance(v, dict) and "index" in v else str(i) for i, v in enumerate(value)]
        return [_changed(v, (*place, name), change) for name, v in zip(names, value, strict=True)]
    if isinstance(value, dict):
        # Log-probabilities hold every token again, in pieces that cannot be redacted.
        return {
            k: v if k in KEPT else _without(v) if k == "logprobs" else _changed(v, (*place, k), change)
            for k, v in value.items()
        }
    return value


def _without(value: Json) -> Json:
    """Return what stands in place of log-probabilities: an empty list where events have one in every case, otherwise null."""
    return [] if isinstance(value, list) else None


def _redacted(message: Json) -> Json:
    return _changed(message, (), lambda place, text: redact_text(text)[0])  # noqa: ARG005


def _finished(message: dict[str, Json]) -> list[str]:
    """Return the indices of the choices of an event that end with it."""
    choices = message.get("choices")
    every = enumerate(choices) if isinstance(choices, list) else ()
    return [str(c.get("index", i)) for i, c in every if isinstance(c, dict) and c.get("finish_reason")]


def _unfinished(message: Json) -> Json:
    """Return an event of which no choice ends and that counts nothing."""
    if not isinstance(message, dict):
        return message
    choices = message.get("choices")
    if not isinstance(choices, list):
        return message
    open_ = [c | {"finish_reason": None} if isinstance(c, dict) and "finish_reason" in c else c for c in choices]
    return {k: open_ if k == "choices" else v for k, v in message.items() if k != "usage"}


def _framed(others: list[bytes], data: bytes | None) -> bytes:
    lines = others if data is None else [*others, *(b"data: " + part for part in data.split(b"\n"))]
    return b"".join(line + b"\n" for line in lines) + b"\n"
