"""How a forwarded request ended for its client: the failures that a rollout compares, which are more than error statuses."""

import asyncio
from collections.abc import Mapping
from types import TracebackType

import msgspec

from workbench.core.rows import Json
from workbench.gateway.token_bucket import Clock
from workbench.gateway.versions import Versions
from workbench.release.assignment import Assignment, Ending

ENDED = frozenset({"message_stop", "response.completed", "response.incomplete"})
"""Types of the events that end a stream where no choice has a ``finish_reason``."""
CONTENT = (
    *("choices", "delta", "message", "text", "content", "tool_calls", "function_call", "function", "name", "arguments"),
    *("reasoning", "reasoning_content", "thinking", "partial_json", "refusal", "output", "response", "content_block"),
    *("data", "embedding", "results", "relevance_score", "audio", "tokens"),
)
"""Fields of an answer, at any depth, that hold what the client asked for."""
MOST_JUDGED_BYTES = 8_000_000
WHOLE_PATIENCE = 4.0
"""Factor on the time without a byte for answers that are not streamed: their first byte is their last."""


class AnswerCheck:
    """Checks a forwarded answer chunk by chunk: whether it has content, ends as it should, and holds no error."""

    def __init__(self, *, is_stream: bool) -> None:
        self._is_stream = is_stream
        self._held = bytearray()
        self._is_too_long = False
        self.n_pieces = 0
        """Events with content, or 1 for a whole answer that has some."""
        self._is_error = self._is_finished = False
        self.is_done = False
        """Whether the event was read that nothing follows."""

    def feed(self, chunk: bytes) -> bool:
        """Read one more chunk; return whether it brought content or the end of the answer."""
        if self._is_too_long:
            return True
        self._held += chunk
        if not self._is_stream:
            self._is_too_long = len(self._held) > MOST_JUDGED_BYTES
            return True
        before = self.n_pieces, self._is_finished
        *lines, rest = self._held.split(b"\n")
        self._held = rest
        self._is_too_long = len(rest) > MOST_JUDGED_BYTES
        for line in lines:
            self._line(bytes(line))
        return before != (self.n_pieces, self._is_finished)

    def is_usable(self) -> bool:
        """Return whether the client could use the answer, once it has ended."""
        if self._is_too_long:
            return True
        if self._is_stream:
            self._line(bytes(self._held))
            return self.n_pieces > 0 and self._is_finished and not self._is_error
        self._judge(_decoded(bytes(self._held)))
        return self.n_pieces > 0 and not self._is_error

    def _line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.strip()
        if name.strip() == b"event" and value == b"error":
            self._is_error = True
        elif name.strip() == b"data" and value == b"[DONE]":
            self._is_finished = self.is_done = True
        elif name.strip() == b"data" and value:
            self._judge(_decoded(value))

    def _judge(self, message: Json) -> None:
        if not isinstance(message, dict) or message.get("error") or message.get("type") in {"error", "response.failed"}:
            self._is_error = True
            return
        self.n_pieces += has_content(message)
        choices = message.get("choices")
        self._is_finished |= message.get("type") in ENDED or any(
            isinstance(c, dict) and c.get("finish_reason") is not None
            for c in (choices if isinstance(choices, list) else ())
        )
        if isinstance(choices, list):
            self._is_error |= any(isinstance(c, dict) and c.get("finish_reason") == "error" for c in choices)


def has_content(value: Json) -> bool:
    """Return whether any of the fields that hold content is not empty."""
    if isinstance(value, dict):
        return any(has_content(value[name]) for name in CONTENT if name in value)
    if isinstance(value, list):
        return any(has_content(v) for v in value)
    return value not in {None, "", False}


def _decoded(text: bytes) -> Json:
    try:
        message: Json = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return message


class OutcomeWatch:
    """Watches one forwarded request, as a ``with`` block, and records once how it ended for its client.

    Failures: an answer whose status is not 2xx, an error inside of it, an empty or a cut one, none at all, no byte for too long, and a client that
    left while it waited for longer than is usual. A client that leaves an answer which is being delivered is no failure.
    """

    def __init__(self, versions: Versions, assignment: Assignment | None, *, clock: Clock, is_stream: bool) -> None:
        self._versions, self._assignment, self._clock, self._is_stream = versions, assignment, clock, is_stream
        self._check = AnswerCheck(is_stream=is_stream)
        self._server, self._status = "", 0
        self._began_s = self._latest_s = 0.0
        self._ttft_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_recorded = assignment is None

    def __enter__(self) -> "OutcomeWatch":
        self._began_s = self._latest_s = self._clock()
        self._wait()
        return self

    def begins(self, status: int, headers: Mapping[str, str], server: str) -> None:
        """Note that a server began to answer."""
        self._status, self._server = status, server
        if (kind := headers.get("content-type")) is not None:
            self._is_stream = "event-stream" in kind
            self._check = AnswerCheck(is_stream=self._is_stream)

    def feed(self, chunk: bytes) -> None:
        """Note a chunk of the answer."""
        if self._is_recorded or not self._check.feed(chunk):
            return
        self._latest_s = self._clock()
        if self._ttft_s is None:
            self._ttft_s = self._latest_s - self._began_s
        if self._check.is_done:
            self.ended()
        else:
            self._wait()

    def ended(self) -> None:
        """Record the answer as it is, before its last piece is passed on: a client that has seen it whole is on record."""
        self._record(failed=not 200 <= self._status < 300 or not self._check.is_usable())

    def abandoned(self) -> None:
        """Record that the client left."""
        waited_s, patience_s = self._clock() - self._latest_s, self._versions.patience_s
        self._record(failed=self._ttft_s is None or waited_s > patience_s)

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if error is None:
            self.ended()
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.abandoned()
        else:
            self._record(failed=True)

    def _wait(self) -> None:
        """Begin to wait for the next content anew."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_recorded:
            longest_s = self._versions.silence_s * (1.0 if self._is_stream else WHOLE_PATIENCE)
            self._timer = asyncio.get_running_loop().call_later(longest_s, lambda: self._record(failed=True))

    def _record(self, *, failed: bool) -> None:
        if self._is_recorded or self._assignment is None:
            return
        self._is_recorded = True
        n, tpot_s = self._check.n_pieces, None
        if n > 1 and self._is_stream and self._ttft_s is not None:
            tpot_s = (self._latest_s - self._began_s - self._ttft_s) / (n - 1)
        ending = Ending(failed=failed, ttft_s=self._ttft_s, tpot_s=tpot_s, server=self._server)
        self._versions.record(self._assignment, ending)
