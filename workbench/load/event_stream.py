"""Events of a stream as its bytes come in, by the rules of the HTML standard (section 9.2, server-sent events)."""

from collections.abc import Callable

import orjson

BOM = b"\xef\xbb\xbf"


class EventStream:
    """Cuts a body into events, or finds that it is one JSON document, or one on each line, whatever its content type says.

    Args:
        on_event: Called with the name and the data of each event; the name is "" where the event has none.
    """

    __slots__ = (
        "_buffer",
        "_has_lines",
        "_is_start",
        "_n_lines",
        "_on_event",
        "_scanned",
        "_skips_line_feed",
        "is_document",
    )

    def __init__(self, on_event: Callable[[bytes, bytes], None]) -> None:
        self._on_event = on_event
        self._buffer = bytearray()
        self._scanned = 0
        self._is_start, self._skips_line_feed = True, False
        self._has_lines: bool | None = None  # whether the first line is JSON by itself; None before its end
        self._n_lines = 0
        self.is_document = False
        """Whether the body begins as JSON does, which no event does, and is no stream of JSON lines."""

    def feed(self, data: bytes) -> None:
        """Take what has arrived, and hand on the events that it completes."""
        if not data:
            return
        if self._skips_line_feed:
            self._skips_line_feed = False
            data = data.removeprefix(b"\n")
        if b"\r" in data and not self.is_document:
            self._skips_line_feed = data.endswith(b"\r")  # the other half of a CRLF may still come
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._buffer += data
        if self._is_start and not self._has_begun():
            return
        if self.is_document or self._n_lines:
            if self._has_lines is not False:
                self._cut_lines()
            return
        while (end := self._buffer.find(b"\n\n", self._scanned)) >= 0:
            event = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            self._scanned = 0
            self._cut(event)
        self._scanned = max(0, len(self._buffer) - 1)

    def _has_begun(self) -> bool:
        """Look at the first bytes, once there are any that are no blanks."""
        if BOM.startswith(self._buffer):  # a part of the mark, or nothing yet
            return False
        if self._buffer.startswith(BOM):
            del self._buffer[:3]
        first = bytes(self._buffer.lstrip(b" \t\n")[:1])
        if not first:
            return False
        self._is_start = False
        self.is_document = first in {b"{", b"["}
        return True

    def _cut_lines(self) -> None:
        """Hand on each line as an event, if the first one is JSON by itself: a document of several lines is not."""
        *lines, rest = bytes(self._buffer).split(b"\n")
        if lines and self._has_lines is None:
            self._has_lines = _is_json(lines[0])
        if not self._has_lines:
            return
        self._buffer[:] = rest
        for line in lines:
            if text := line.strip():
                self._n_lines += 1
                self.is_document = self._n_lines == 1
                self._on_event(b"", text)

    def end(self) -> bytes:
        """Hand on an event that lacks only its blank line, and return the document, if it is one.

        The standard drops such an event; OpenAI's own client reads it, and servers end with ``data: [DONE]`` and nothing after it.
        """
        if self._n_lines and self._buffer.strip():
            self.feed(b"\n")
        rest = bytes(self._buffer)
        self._buffer.clear()
        if self.is_document:
            return rest
        if rest.strip():
            self._cut(rest.rstrip(b"\n"))
        return b""

    def _cut(self, event: bytes) -> None:
        if event.startswith(b"data: ") and b"\n" not in event:
            self._on_event(b"", event[6:])
            return
        name, lines = b"", []
        for line in event.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                lines.append(value)
            elif field == b"event":
                name = value
            elif field == b"error":  # older llama.cpp servers write errors under a field of their own
                name = b"error"
                lines.append(value)
            elif line.startswith(b"{"):  # a server that fails in the middle may write its error as bare JSON
                self._on_event(name, line)
        data = b"\n".join(lines)
        if data or name == b"error":
            self._on_event(name, data)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
