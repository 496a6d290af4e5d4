"""Usage of an answer: the tokens of prompt and answer as the server counted them, read while the answer is forwarded."""

from collections.abc import Iterator
from dataclasses import dataclass

from workbench.core.rows import Json
from workbench.gateway.event_stream import DONE, Event, EventReader, decoded_object

MOST_READ_BYTES = 64_000_000
"""Largest whole answer that is read for its usage."""
PIECES = ("content", "reasoning_content", "reasoning", "refusal", "text", "arguments", "name")
ENDED = frozenset({"response.completed", "response.incomplete", "response.failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one request; None: not known."""

    prompt: int | None = None
    answer: int | None = None


class UsageMeter:
    """Reads the usage of a forwarded answer, and hides from a stream what its client did not ask for."""

    def __init__(self, *, is_stream: bool, hides_usage: bool) -> None:
        self._is_stream, self._hides = is_stream, hides_usage
        self._events, self._held = EventReader(), bytearray()
        self._prompt: int | None = None
        self._total: int | None = None
        self._by_choice: dict[int, int] = {}
        self._texts: dict[int, list[str]] = {}
        self._n_texts = 0
        self.n_chunks = self.n_pieces = 0
        """Chunks of the answer, and events of a stream with content."""
        self.is_error = self.is_complete = False
        """Whether the answer holds an error, and whether it ended as its API says."""

    def feed(self, chunk: bytes) -> bytes:
        """Return what is to be forwarded after one more chunk."""
        self.n_chunks += 1
        if self._is_stream:
            return b"".join(map(self._passed, self._events.feed(chunk)))
        if len(self._held) <= MOST_READ_BYTES:
            self._held += chunk
        return chunk

    def end(self) -> bytes:
        """Return what was held back until the end of the answer, and read a whole answer."""
        if self._is_stream:
            last = self._events.end()
            return self._passed(last) if last is not None else b""
        message = decoded_object(self._held)
        self._read(message)
        self.is_complete = bool(message) and not self.is_error
        return b""

    @property
    def usage(self) -> Usage:
        """Usage that the server has reported so far."""
        by_choice = sum(self._by_choice.values()) if self._by_choice else None
        return Usage(prompt=self._prompt, answer=self._total if self._total is not None else by_choice)

    @property
    def texts(self) -> list[str]:
        """Texts of the choices so far."""
        return ["".join(pieces) for pieces in self._texts.values()]

    def _passed(self, event: Event) -> bytes:
        if not event.data:
            return event.raw
        if event.data == DONE:
            self.is_complete = True
            return event.raw
        message = event.message
        self.is_error |= event.name == b"error"
        before = self._n_texts
        self._read(message)
        self.n_pieces += self._n_texts > before
        if not self._hides or "usage" not in message:
            return event.raw
        if not message.get("choices") and message["usage"]:
            return b""
        return event.with_message({k: v for k, v in message.items() if k != "usage"})

    def _read(self, message: dict[str, Json]) -> None:
        kind = message.get("type")
        self.is_error |= bool(message.get("error")) or kind in {"error", "response.failed"}
        self.is_complete |= kind in ENDED
        choices = message.get("choices")
        inner = message.get("response")
        self._read_usage(message.get("usage"), choices)
        if isinstance(inner, dict):
            self._read_usage(inner.get("usage"), None)
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._add(choice.get("index"), _pieces(choice))
        elif isinstance(kind, str) and kind.endswith(".delta") and isinstance(text := message.get("delta"), str):
            self._add(message.get("output_index"), iter([text]))
        elif isinstance(message.get("output"), list):
            self._add(0, _pieces(message["output"]))

    def _add(self, index: Json, pieces: Iterator[str]) -> None:
        if new := [p for p in pieces if p]:
            self._texts.setdefault(index if isinstance(index, int) else 0, []).extend(new)
            self._n_texts += len(new)

    def _read_usage(self, usage: Json, choices: Json) -> None:
        if not isinstance(usage, dict):
            return
        prompt = _count(usage, "prompt_tokens", "input_tokens")
        answer = _count(usage, "completion_tokens", "output_tokens")
        if prompt is None and answer is None:
            prompt = _count(usage, "total_tokens")
        self._prompt = prompt if prompt is not None else self._prompt
        if answer is None:
            return
        if self._is_stream and isinstance(choices, list) and choices and isinstance(choices[0], dict):
            index = choices[0].get("index")  # a running count, of this choice alone
            self._by_choice[index if isinstance(index, int) else 0] = answer
        else:
            self._total = answer


def _count(usage: dict[str, Json], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _pieces(value: Json) -> Iterator[str]:
    """Yield the texts of a choice, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str):
                if name in PIECES:
                    yield inner
            elif name != "logprobs":
                yield from _pieces(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pieces(inner)
