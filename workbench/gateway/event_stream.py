"""Events of a stream, in every framing that the standard allows (HTML, server-sent events): with or without a blank, LF, CRLF or CR, several lines."""

import re
from dataclasses import dataclass

import msgspec

from workbench.core.rows import Json

LINE_END = re.compile(rb"\r\n|\n|\r")
EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
LONGEST_EVENT_BYTES = 8_000_000
DONE = b"[DONE]"
LONGEST_END_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a stream."""

    raw: bytes
    """Bytes of the event, its end included."""
    name: bytes
    """Name of the event; empty where it has none."""
    data: bytes
    """Joined lines of data; empty for comments and for the rest of a stream."""

    @property
    def message(self) -> dict[str, Json]:
        """Object that the data hold; empty where they hold none."""
        return decoded_object(self.data)

    def with_message(self, message: Json) -> bytes:
        """Return the bytes of the event with other data, in the same framing."""
        end = LINE_END.search(self.raw)
        line_end = end[0] if end else b"\n"
        lines = [line for line in LINE_END.split(self.raw) if line and not line.startswith(b"data")]
        return line_end.join([*lines, b"data: " + msgspec.json.encode(message), b"", b""])


class EventReader:
    """Reader of a stream that is cut into chunks anywhere."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that are complete after one more chunk."""
        at, unread = 0, max(0, len(self._held) - LONGEST_END_BYTES)
        self._held += chunk
        events = []
        while (end := EVENT_END.search(self._held, unread)) is not None:
            events.append(_event(bytes(self._held[at : end.end()])))
            at = unread = end.end()
        del self._held[:at]
        if len(self._held) > LONGEST_EVENT_BYTES:  # no event of an answer: it is passed on unread
            events.append(Event(raw=bytes(self._held), name=b"", data=b""))
            self._held.clear()
        return events

    def end(self) -> Event | None:
        """Return what the stream ended with and no empty line followed; None for nothing."""
        rest, self._held = bytes(self._held), bytearray()
        return _event(rest) if rest else None


def _event(raw: bytes) -> Event:
    name, data = b"", []
    for line in LINE_END.split(raw):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(raw=raw, name=name, data=b"\n".join(data).strip())


def decoded_object(text: bytes | bytearray) -> dict[str, Json]:
    """Return the JSON object of a text; empty where there is none."""
    try:
        message: Json = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
