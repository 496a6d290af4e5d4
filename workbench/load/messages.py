"""What the process that asks for a load and the process that sends it say to each other, as JSON lines."""

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

Body: TypeAlias = dict[str, object]
"""A request as JSON, in the fields of OpenAI's interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When requests are due and how long they are, a column for each."""

    due_s: tuple[float, ...] | None
    """Seconds since the start of the load; None in a closed loop, where a user sends when free and the lengths begin anew after the last."""
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    hash_ids: tuple[tuple[int, ...], ...] = ()
    """Blocks that each prompt begins with, where a trace names them: equal ids are equal words."""
    block_tokens: int = 512
    """Tokens of the prompt that each id stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRecipe:
    """How the body of any request is made from its number, so that none exists before it is sent."""

    seed: int
    nonce: int
    """With the seed it decides the prompts: another one gives prompts that no server has seen."""
    words: tuple[str, ...]
    """Words that prompts are made of, one token each where a tokenizer was named."""
    word_ids: tuple[int, ...] = ()
    """Their token ids, where ids are sent instead of text."""
    is_unique: bool = True
    """Whether each prompt differs from its first words on."""
    shared_words: tuple[str, ...] = ()
    """First words that all prompts share."""
    shared_ids: tuple[int, ...] = ()
    endpoint: str = "completions"
    turns: int = 1
    fields: Body
    """Fields of each body apart from the prompt and the length of the answer."""
    length_field: str | None
    """Field that limits the answer; None: none does."""
    pictures: tuple[tuple[Body, ...], ...] = ()
    """Images of each request, as parts of a message; after the last they begin anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingJob:
    """A load as the sending process needs it."""

    run_id: str
    base_url: str
    target: str
    """Path and query of the requests."""
    endpoint: str
    headers: dict[str, str]
    checks_tls: bool = True
    ca: str | None = None
    timeout_s: float
    concurrency: int | None
    closed: bool
    """Whether each user sends the next request when the last one has ended."""
    duration_s: float
    keep_texts: bool
    """Whether texts of answers are needed, for a tokenizer to count their tokens."""
    keep_answers: bool = False
    """Whether answers and calls are needed, to check their form."""
    schedule: Schedule
    recipe: PromptRecipe
    secrets: tuple[str, ...] = ()
    """Forms of keys and passwords that are blotted out of what the server says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of a request as the server counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt, found in the server's prefix cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a tool, put together from its parts."""

    name: str
    arguments: str
    """As JSON, if the model wrote it right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRequest:
    """A request that was sent, or should have been; all times are seconds since the start of the load."""

    index: int
    due_s: float
    end_s: float | None
    """When its response was complete, or the attempt ended."""
    input_tokens: int = 0
    """Asked for."""
    sent_s: float | None = None
    """First try."""
    connect_s: float = 0.0
    queued_s: float = 0.0
    """Waiting at the concurrency cap."""
    first_event_s: float | None = None
    chunk_s: tuple[float, ...] = ()
    """Arrival of each event with text, reasoning or a tool call."""
    chunk_usage: tuple[int, ...] = ()
    """Tokens of the answer so far, with each of these, where the server counts them."""
    texts: tuple[str, ...] = ()
    """Text of each of these, where it is kept."""
    answer: str | None = None
    """The whole answer without reasoning, where its form is checked."""
    calls: tuple[Call, ...] = ()
    """Calls of the answer, where its form is checked."""
    first_text_fraction: float | None = None
    """Characters of the first chunk over those of all."""
    max_output_tokens: int | None = None
    usage: Usage | None = None
    n_resent: int = 0
    """Times that it was sent again because the server had closed the connection just then."""
    is_streamed: bool = True
    """Whether the answer came as events."""
    is_repeated: bool = False
    """Whether an earlier request of the load had the same prompt."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRequest:
    """A request that has just ended, as progress shows it."""

    index: int
    due_s: float
    ttft_s: float | None
    """Time to first token, from when it was sent."""
    e2e_s: float | None
    n_chunks: int
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """How far a load is."""

    elapsed_s: float
    n_sent: int
    n_in_flight: int
    n_waiting: int
    """Requests that wait at the concurrency cap."""
    n_finished: int
    n_failed: int
    finished: tuple[FinishedRequest, ...] = ()
    """Requests that ended since the last progress, the newest fifty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentLoad:
    """A load that is over."""

    requests: tuple[SentRequest, ...]
    lag_s: tuple[float, ...]
    """How much too late the event loop woke up, each time."""
    cpu_fraction: float
    """Processor time of the sending process over the wall time."""
    started_monotonic_s: float
    """Start on the machine's monotonic clock."""
    stopped_after_s: float | None = None
    """When it was stopped, in seconds since its start; None: it ran to its end."""
    clock_step_s: float = 0.0
    """How much more the machine's wall clock moved than the monotonic one: it was set, or the machine slept."""


class Message(msgspec.Struct, omit_defaults=True):
    """A line of the sending process; the first one says only that it is ready."""

    progress: LoadProgress | None = None
    result: SentLoad | None = None
