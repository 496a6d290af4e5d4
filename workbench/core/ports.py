"""What an experiment needs from the outside world."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A wish for text. Greedy, so that the same wish gives the same text."""

    prompt: str | tuple[int, ...]
    """Text, or token ids."""
    max_tokens: int
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEvent:
    """One step of an answer."""

    at_s: float
    """Monotonic clock (``time.perf_counter``) of this machine when the tokens were there."""
    text: str
    token_ids: tuple[int, ...] = ()
    """Empty where an engine tells the text only."""
    n_input_tokens: int | None = None
    n_output_tokens: int | None = None
    """So far, where the engine counts."""
    finish_reason: Literal["stop", "length"] | None = None
    """Set in the last event."""
    queued_s: float | None = None
    """How long the request waited before the engine began with it, where the engine tells."""
    began_at_s: float | None = None
    """When that was, on the clock of ``at_s``."""


class Engine(Protocol):
    """Something that generates text, in this process or behind a URL."""

    def generate(self, wish: Generation) -> Iterator[TokenEvent]:
        """Events as they come; callable from several threads at once. Closing the iterator gives the rest up."""

    def describe(self) -> Mapping[str, str | None]:
        """Engine, version, model, precision and device."""

    def close(self) -> None:
        """Free what it holds; a second call does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What a request can ask of an engine."""

    n_vocab: int | None
    """Token ids are smaller than this; None: not known."""
    max_model_len: int | None
    """Most tokens of prompt and answer together; None: not limited."""


class LocalEngine(Engine, Protocol):
    """An engine in this process, in front of which the workbench puts a server."""

    def limits(self) -> EngineLimits:
        """The vocabulary and the longest context."""

    def problem(self) -> str | None:
        """Why it can answer no request any more; None while it can."""

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Token ids of a text."""

    def counters(self) -> Mapping[str, float]:
        """Its load of now and what it has counted, under vLLM's names without prefix; empty where it tells nothing."""
