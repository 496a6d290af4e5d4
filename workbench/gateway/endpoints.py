"""Endpoints that the gateway passes on, and the fields of their requests that it checks.

A field is listed where the gateway needs it: for budgets, streams, the cache and rules. Every other field is passed on unchanged, so that what
vLLM or OpenAI add tomorrow works. Bounds are those of the more permissive of the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Id = Annotated[int, Meta(ge=0, lt=2**31)]
Prompts = Text | Annotated[list[Text | Id | Annotated[list[Id], Meta(min_length=1)]], Meta(min_length=1)]
"""A text, token ids, or a list of either."""
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class StreamOptions(Struct):
    """Options of a streamed answer."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Options(Struct, kw_only=True):
    """Fields that several endpoints share; null stands for a field that is left out."""

    model: Text | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    n: Positive | None = None
    best_of: Positive | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    max_output_tokens: Positive | None = None
    min_tokens: Count | None = None


class Completion(Options, kw_only=True):
    """A request of the completions endpoint."""

    prompt: Prompts | None = None
    prompt_embeds: str | list[str] | None = None
    max_tokens: Count | None = None


class Message(Struct):
    """One message of a chat: any role, and content that is a text, parts, or null beside calls of tools."""

    role: Text
    content: str | list[str | dict[str, object]] | None = None


class Chat(Options, kw_only=True):
    """A request of the chat endpoint."""

    messages: Annotated[list[Message], Meta(min_length=1)]


class Response(Options, kw_only=True):
    """A request of the responses endpoint."""

    input: str | list[dict[str, object]] | None = None
    instructions: str | None = None


class Embedding(Options, kw_only=True):
    """A request of the embeddings endpoint."""

    input: Prompts | None = None
    messages: list[Message] | None = None


class Tokens(Options, kw_only=True):
    """A request for the tokens of a text or a chat, or for the text of tokens."""

    prompt: str | None = None
    messages: list[Message] | None = None
    tokens: list[int] | None = None


Request: TypeAlias = Completion | Chat | Response | Embedding | Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A path of the API, and how its answers are budgeted."""

    path: str
    kind: type[Completion] | type[Chat] | type[Response] | type[Embedding] | type[Tokens]
    needs: tuple[str, ...]
    """Fields of which a request must have one."""
    prompt: tuple[str, ...]
    """Fields that make up the prompt."""
    limits: tuple[str, ...] = ()
    """Fields that limit the answer; the first is written where none is there."""
    default_answer_tokens: int | None = None
    """Tokens of an answer that the API defines where no limit is there; None: not limited by the API."""
    has_usage_option: bool = False
    """Whether streams report their usage only where ``stream_options`` asks for it."""
    is_charged: bool = True
    """Whether the tokens of the prompt cost computation of the model."""


CHAT = Endpoint(
    path="/v1/chat/completions",
    kind=Chat,
    needs=("messages",),
    prompt=("messages", "tools", "functions"),
    limits=("max_tokens", "max_completion_tokens"),
    has_usage_option=True,
)
COMPLETION = Endpoint(
    path="/v1/completions",
    kind=Completion,
    needs=("prompt", "prompt_embeds"),
    prompt=("prompt", "suffix"),
    limits=("max_tokens",),
    default_answer_tokens=16,
    has_usage_option=True,
)
RESPONSE = Endpoint(
    path="/v1/responses",
    kind=Response,
    needs=("input", "prompt"),
    prompt=("instructions", "input", "tools"),
    limits=("max_output_tokens",),
)
EMBEDDING = Endpoint(path="/v1/embeddings", kind=Embedding, needs=("input", "messages"), prompt=("input", "messages"))
TOKENIZE = Endpoint(
    path="/tokenize", kind=Tokens, needs=("prompt", "messages"), prompt=("prompt", "messages"), is_charged=False
)
DETOKENIZE = Endpoint(path="/detokenize", kind=Tokens, needs=("tokens",), prompt=(), is_charged=False)
ENDPOINTS: Mapping[str, Endpoint] = {e.path: e for e in (CHAT, COMPLETION, RESPONSE, EMBEDDING, TOKENIZE, DETOKENIZE)}
