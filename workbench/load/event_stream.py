"""Events of a stream as its bytes come in, by the rules of the HTML standard (section 9.2, server-sent events)."""

from collections.abc import Callable

BOM = b"\xef\xbb\xbf"


class EventStream:
    """Cuts a body into events, or finds that it is one JSON document instead, whatever its content type says.

    Args:
        on_event: Called with the name and the data of each event; the name is "" where the event has none.
    """

    __slots__ = ("_buffer", "_is_start", "_on_event", "_scanned", "_skips_line_feed", "is_document")

    def __init__(self, on_event: Callable[[bytes, bytes], None]) -> None:
        self._on_event = on_event
        self._buffer = bytearray()
        self._scanned = 0
        self._is_start, self._skips_line_feed = True, False
        self.is_document = False
        """Whether the body begins as JSON does, which no event does."""

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
        if self.is_document:
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

    def end(self) -> bytes:
        """Hand on an event that lacks only its blank line, and return the document, if it is one.

        The standard drops such an event; OpenAI's own client reads it, and servers end with ``data: [DONE]`` and nothing after it.
        """
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
