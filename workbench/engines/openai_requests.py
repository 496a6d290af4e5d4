"""Requests of the OpenAI interface, checked before the engine sees them: what cannot be done right is refused by its field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from workbench.core.errors import WorkbenchError
from workbench.core.ports import EngineLimits

DEFAULT_TOKENS = 16
"""Length of a completion that names none, as OpenAI's interface has it; a chat answer goes up to the context."""
MAX_PROMPTS = 1024
MAX_STOPS = 16
Prompt: TypeAlias = "str | tuple[int, ...]"


class BadRequest(WorkbenchError):
    """A request that is refused; ``field`` is what it should change."""

    def __init__(self, cause: str, *, field: str | None = None, status: int = 400) -> None:
        super().__init__(cause, remedy="")
        self.field, self.status = field, status

    def __str__(self) -> str:
        return self.cause


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: str = "user"
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, object]] | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct):
    """What a stream says of its tokens."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class _ResponseFormat(msgspec.Struct):
    type: str


class Asked(msgspec.Struct, kw_only=True):
    """The fields of a request that these engines know; others are ignored, as vLLM does."""

    model: str | None = None
    prompt: str | list[str | int | list[int]] | None = None
    messages: list[_Message] | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: object = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    n: int | None = None
    best_of: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    response_format: _ResponseFormat | None = None
    ignore_eos: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Return the strings before which an answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def asked_tokens(self) -> int | None:
        """Return the most tokens of an answer; None where the request does not say."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Values of a field with which these engines do what is asked."""

    field: str
    allowed: tuple[object, ...]
    reason: str


RULES = (
    _Rule(field="temperature", allowed=(None, 0), reason="these engines generate greedily, with temperature 0"),
    _Rule(field="n", allowed=(None, 1), reason="greedy answers are all the same, so n must be 1"),
    _Rule(field="best_of", allowed=(None, 1), reason="greedy answers are all the same, so best_of must be 1"),
    _Rule(field="min_tokens", allowed=(None, 0), reason="ignore_eos makes an answer as long as max_tokens"),
    _Rule(field="stop_token_ids", allowed=(None, []), reason="the model's own end-of-text ids are used"),
    _Rule(field="echo", allowed=(None, False), reason="the prompt is not repeated"),
    _Rule(field="suffix", allowed=(None, ""), reason="text is not inserted"),
    _Rule(field="logprobs", allowed=(None, False), reason="probabilities are not returned"),
    _Rule(field="top_logprobs", allowed=(None, 0), reason="probabilities are not returned"),
    _Rule(field="prompt_logprobs", allowed=(None,), reason="probabilities are not returned"),
    _Rule(field="logit_bias", allowed=(None, {}), reason="logits are not changed"),
    _Rule(field="presence_penalty", allowed=(None, 0), reason="logits are not changed"),
    _Rule(field="frequency_penalty", allowed=(None, 0), reason="logits are not changed"),
    _Rule(field="repetition_penalty", allowed=(None, 1), reason="logits are not changed"),
    _Rule(field="tool_choice", allowed=(None, "auto", "none"), reason="an answer cannot be forced into a tool call"),
)


def read_request(body: bytes, *, chat: bool) -> Asked:
    """Return a request whose fields can be done right.

    Raises:
        BadRequest: They cannot; it names the field.
    """
    try:
        asked = msgspec.json.decode(body, type=Asked)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{error}", field=_field(str(error))) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON: {error}") from error
    for rule in RULES:
        value = getattr(asked, rule.field)
        # 1 == True, and logprobs 0 asks for the probability of the chosen token.
        if not any(value == allowed and type(value) in _kinds(allowed) for allowed in rule.allowed):
            raise BadRequest(f"{rule.field}={value!r} is not supported: {rule.reason}.", field=rule.field)
    _check_lengths(asked)
    if (asked.messages if chat else asked.prompt) is None:
        field = "messages" if chat else "prompt"
        raise BadRequest(f"The field {field} is required.", field=field)
    if asked.response_format and asked.response_format.type != "text":
        cause = f"response_format {asked.response_format.type!r} is not supported: answers are plain text."
        raise BadRequest(cause, field="response_format")
    if asked.stream_options and not asked.stream:
        raise BadRequest("Stream options can only be defined when `stream=True`.", field="stream_options")
    return asked


def _kinds(allowed: object) -> tuple[type, ...]:
    return (int, float) if type(allowed) in (int, float) else (type(allowed),)


def _field(text: str) -> str | None:
    """Return the name of the field that a message of msgspec is about."""
    _, _, place = text.partition("`$.")
    return place.rstrip("`").partition(".")[0].partition("[")[0] or None


def _check_lengths(asked: Asked) -> None:
    if asked.asked_tokens is not None and asked.asked_tokens < 1:
        field = "max_completion_tokens" if asked.max_completion_tokens is not None else "max_tokens"
        raise BadRequest(f"{field} must be at least 1, got {asked.asked_tokens}.", field=field)
    if len(asked.stops) > MAX_STOPS or "" in asked.stops:
        raise BadRequest(f"stop takes up to {MAX_STOPS} strings that are not empty.", field="stop")


def prompts_of(asked: Asked) -> tuple[Prompt, ...]:
    """Return the prompts of a completion, one for each choice of the answer.

    Raises:
        BadRequest: There is none, or too many.
    """
    prompt = asked.prompt
    if isinstance(prompt, str):
        return (prompt,)
    kinds = {type(part) for part in prompt or ()}
    if len(kinds) > 1:
        raise BadRequest("The prompt mixes texts, token ids and lists of them.", field="prompt")
    if not prompt:
        raise BadRequest("The prompt is empty.", field="prompt")
    if kinds == {int}:
        return (tuple(part for part in prompt if isinstance(part, int)),)
    if len(prompt) > MAX_PROMPTS:
        cause = f"{len(prompt)} prompts in one request; at most {MAX_PROMPTS} are answered."
        raise BadRequest(cause, field="prompt")
    return tuple(part if isinstance(part, str) else tuple(part) for part in prompt if not isinstance(part, int))


def plain_messages(asked: Asked) -> list[dict[str, object]]:
    """Return the messages as a chat template reads them: text alone.

    Raises:
        BadRequest: There is none, or one with something else than text.
    """
    if not asked.messages:
        raise BadRequest("The list of messages is empty.", field="messages")
    plain: list[dict[str, object]] = []
    for message in asked.messages:
        if isinstance(message.content, list):
            others = {part.type for part in message.content if part.type != "text"}
            if others:
                cause = f"Messages with {', '.join(sorted(others))} are not supported: the model reads text alone."
                raise BadRequest(cause, field="messages")
            text = "\n".join(part.text or "" for part in message.content)
        else:
            text = message.content or ""
        values: dict[str, object | None] = {
            "role": message.role,
            "content": text,
            "name": message.name,
            "tool_calls": message.tool_calls,
        }
        values["tool_call_id"] = message.tool_call_id
        plain.append({k: v for k, v in values.items() if v is not None})
    return plain


def answer_tokens(asked: Asked, ids: Sequence[int], limits: EngineLimits, *, chat: bool) -> int:
    """Return the most tokens that the answer to a prompt can have, in the words of vLLM where it cannot be.

    Raises:
        BadRequest: The prompt is empty or longer than the context, or a token id is none.
    """
    field = "messages" if chat else "prompt"
    if not ids:
        raise BadRequest("The prompt is empty.", field=field)
    if limits.n_vocab is not None and (bad := next((i for i in ids if not 0 <= i < limits.n_vocab), None)) is not None:
        raise BadRequest(f"Token id {bad} is out of vocabulary: ids go from 0 to {limits.n_vocab - 1}.", field=field)
    longest, asked_tokens = limits.max_model_len, asked.asked_tokens
    if longest is None:
        return asked_tokens or DEFAULT_TOKENS
    if asked_tokens is None:
        asked_tokens = max(1, longest - len(ids)) if chat else DEFAULT_TOKENS
    if len(ids) + asked_tokens > longest:
        raise BadRequest(
            f"This model's maximum context length is {longest} tokens. However, you requested {len(ids) + asked_tokens} "
            f"tokens ({len(ids)} in the {field}, {asked_tokens} in the completion). Please reduce the length of the "
            f"{field} or completion.",
            field=field if len(ids) >= longest else "max_tokens",
        )
    return asked_tokens
