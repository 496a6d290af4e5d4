"""One request on its way: what arrives for it, whether its answer is whole, and when it is sent again."""

from array import array
from dataclasses import dataclass, field
from typing import Protocol

from workbench.load.answer_events import (
    BROKEN_OFF,
    Event,
    Parts,
    content,
    error_text,
    finish_reason,
    late_content,
    loaded,
    plain_text,
    repeats,
    usage,
)
from workbench.load.connection import Connection, Pool
from workbench.load.event_stream import EventStream
from workbench.load.messages import SendingJob, Usage
from workbench.load.response import ResponseReader

AT_ONCE_NS = 50_000_000
"""A kept connection that closes within this after a request was written had been closed before the request reached the server."""
NOBODY_ASKED = 408
"""Status that servers write to an idle connection before they close it (RFC 9110, section 15.5.9)."""
MOST_RESENDS, MOST_REDIRECTS = 3, 5
MOST_ERROR_CHARACTERS, MOST_KEPT_BYTES = 300, 4096
"""Of what a server said: shown, and kept until keys are taken out of it, of which none may be cut in the middle."""
PLAIN_NAMES = (b"", b"message")


def _times() -> "array[int]":
    return array("q")


class Sender(Protocol):
    """Who sends requests: the driver of a load."""

    job: SendingJob
    pool: Pool
    keeps_texts: bool

    def send_anew(self, flight: "Flight") -> None:
        """Send over a connection that is opened for it."""

    def send_on(self, flight: "Flight") -> None:
        """Send over a connection that is open, or over a new one."""

    def finished(self, flight: "Flight") -> None:
        """Count a request and let the next one go."""

    def redacted(self, text: str) -> str:
        """Return a text of the server without keys and passwords."""


@dataclass(slots=True)
class Flight:
    """One request with what ``SentRequest`` needs, in nanoseconds of the monotonic clock."""

    index: int
    due_ns: int
    driver: "Sender"
    input_tokens: int
    output_tokens: int
    conversation: int
    """Number of the conversation; that of the request where each is one."""
    turn: int = 0
    messages: list[dict[str, object]] | None = None
    """What was said before this turn."""
    sent_ns: int = 0
    written_ns: int = 0
    """The last try; ``sent_ns`` is the first."""
    connect_ns: int = 0
    queued_ns: int = 0
    first_event_ns: int = 0
    chunk_ns: "array[int]" = field(default_factory=_times)
    chunk_tokens: "array[int]" = field(default_factory=_times)
    texts: list[str] = field(default_factory=list)
    first_characters: int = 0
    characters: int = 0
    usage: Usage | None = None
    end_ns: int = 0
    error: str | None = None
    is_whole: bool = False
    done_ns: int = 0
    """When ``[DONE]`` came."""
    whole_ns: int = 0
    """When the last event of a whole answer came."""
    is_streamed: bool = True
    is_repeated: bool = False
    parts: Parts | None = None
    """Answer and calls, where their form is checked."""
    n_resent: int = 0
    n_redirects: int = 0
    target: str | None = None
    """Where the server sent the request on to."""
    connection: Connection | None = None
    on_kept: bool = False
    """Whether the last try went over a connection that had been used before."""
    gives_up: bool = False
    finished: bool = False
    _unfinished: set[int] = field(default_factory=set)
    """Numbers of choices that go on, where there are several."""
    _body: EventStream | None = None
    _start: bytes = b""
    """First bytes of a body, until they are seen to hold an event."""
    _now: int = 0

    def received(self, at_ns: int, data: bytes) -> None:
        """Note what a piece of the body holds."""
        self._now = at_ns
        if self._body is None:
            self._body = EventStream(self._event)
        if not self.first_event_ns and len(self._start) < MOST_KEPT_BYTES:
            self._start += data[:MOST_KEPT_BYTES]
        self._body.feed(data)

    def _event(self, name: bytes, data: bytes) -> None:
        if not self.first_event_ns:
            self.first_event_ns = self._now
        if self.done_ns:  # what follows the end is no part of the answer
            return
        if data[:6] == b"[DONE]" or data.strip() == b"[DONE]":
            self.is_whole, self.done_ns = True, self._now
        else:
            self._take(name, data)
        if self.is_whole:
            self.whole_ns = self._now

    def _take(self, name: bytes, data: bytes) -> None:
        event = self._read(name, data)
        if event is None:
            return
        if (plain := plain_text(event)) and name in PLAIN_NAMES and not self._unfinished and "x_groq" not in event:
            self._note(plain, event, None)
            return
        if error := error_text(event, name=name):
            self._fail(error)
        count = usage(event)
        is_again = self.is_streamed and bool(self.chunk_ns) and repeats(event, characters=self.characters)
        if not is_again and (text := content(event)):
            self._note(text, event, count)
        elif not self.chunk_ns and (text := late_content(event)):
            self.is_streamed = False
            self._note(text, event, count)
        if reason := self._reason(event):
            self.is_whole = not self._unfinished
            if reason in BROKEN_OFF:
                self._fail(f"the server broke the answer off (finish_reason {reason})")
        self.usage = count or self.usage

    def _reason(self, event: Event) -> str | None:
        """Return the reason of an end, and note which of several choices go on."""
        choices = event.get("choices")
        if isinstance(choices, list) and choices and (len(choices) > 1 or self._unfinished or _number(choices[0])):
            for choice in choices:
                has_ended = isinstance(choice, dict) and choice.get("finish_reason")
                (self._unfinished.discard if has_ended else self._unfinished.add)(_number(choice))
        return finish_reason(event)

    def _read(self, name: bytes, data: bytes) -> Event | None:
        """Return an event as JSON; one that is not fails the request, unless it is empty or of a name of its own."""
        try:
            event = loaded(data)
        except ValueError:
            if name == b"error" or data[:5].lower() == b"error":
                self._fail(data.decode(errors="replace").strip() or "the server sent an error without a cause")
            elif b"\n" in data and all(line[:1] in {b"{", b"["} for line in data.split(b"\n")):
                for line in data.split(b"\n"):  # a server that ends events with one line feed instead of two
                    self._event(name, line)
            elif data.strip() and name in {b"", b"message"} and not self.end_ns:  # at the end it is half an event
                self._fail(
                    f"the server sent an event that is not JSON: {data[:MOST_KEPT_BYTES].decode(errors='replace')}"
                )
            return None
        if isinstance(event, list) and len(event) == 1:
            (event,) = event
        if isinstance(event, dict):
            return event
        if name == b"error":
            self._fail(str(event))
        return None

    def _note(self, text: str, event: Event, count: Usage | None) -> None:
        """Note a chunk that holds text."""
        if not self.chunk_ns:
            self.first_characters = len(text)
        self.chunk_ns.append(self._now)
        self.characters += len(text)
        if self.driver.keeps_texts:
            self.texts.append(text)
        if self.driver.job.keep_answers:
            self.parts = self.parts or Parts()
            self.parts.add(event)
        if count:
            self.chunk_tokens.append(count.completion_tokens or 0)

    def _fail(self, why: str) -> None:
        self.error = self.error or why

    def ended(self, at_ns: int, response: ResponseReader | None, failure: str | None) -> None:
        """Close the record, or send the request again where nothing of it can have been taken."""
        status = response.status if response is not None else 0
        if ((failure and not status) or status == NOBODY_ASKED) and self._may_send_again(at_ns):
            self.n_resent += 1
            self._forget()
            self.driver.send_anew(self)
            return
        self._now = self.end_ns = at_ns
        if self._body is not None:
            rest = self._body.end()
            if self._body.is_document:
                self.is_streamed = False
                self._take(b"", rest)
        if response is not None and not failure and status in {307, 308} and self._follows(response):
            return
        if status and not 200 <= status < 300:
            where = f" to {response.headers['location']}" if response and "location" in response.headers else ""
            self.error = f"HTTP {status}{where}: {self.error or self._said()}"
        elif failure and (self.error or not self.is_whole or not self.chunk_ns):
            self.error = self.error or failure
        elif self.error is None and not self.is_whole and self.chunk_ns:
            self.error = "the answer ended without finish_reason and [DONE]"
        elif self.error is None and not self.chunk_ns:
            self.error = self._nothing(status)
        if self.error is not None:
            self.error = self.driver.redacted(self.error)[:MOST_ERROR_CHARACTERS]
        self._body = None
        self.driver.finished(self)

    def _nothing(self, status: int) -> str:
        """Return what is wrong with an answer without text."""
        n = self.usage.completion_tokens if self.usage else None
        text = f"the answer held no text, though its usage counts {n} tokens" if n else "the answer held no token"
        return text if status in {0, 200} else f"HTTP {status}: {text}"

    def _said(self) -> str:
        """Return the text of an answer that holds no event."""
        return " ".join(self._start.decode(errors="replace").split()) or "no message"

    def _may_send_again(self, at_ns: int) -> bool:
        if self.gives_up or not self.on_kept or self.connection is None or self.n_resent >= MOST_RESENDS:
            return False
        return at_ns - self.written_ns <= max(AT_ONCE_NS, 2 * self.connection.opening_ns)

    def _follows(self, response: ResponseReader) -> bool:
        """Send the request on to where the server says, if that is the same origin: a key goes to no other."""
        address = self.driver.pool.address
        found = address.redirected(self.target or self.driver.job.target, response.headers.get("location", ""))
        if found is None or found[0].origin != address.origin or self.n_redirects >= MOST_REDIRECTS:
            return False
        self.n_redirects += 1
        self.target = found[1]
        self._forget()
        self.driver.send_on(self)
        return True

    def _forget(self) -> None:
        """Drop what came with an answer that is none."""
        self.error, self._body, self._start, self.end_ns = None, None, b"", 0
        self.first_event_ns, self.is_streamed, self.is_whole = 0, True, False
        self._unfinished.clear()


def _number(choice: object) -> int:
    """Return the number of a choice, 0 where it says none."""
    number = choice.get("index") if isinstance(choice, dict) else None
    return number if isinstance(number, int) else 0
