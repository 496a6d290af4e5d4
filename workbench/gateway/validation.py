"""Strict validation of requests before any work: size, nesting, fields, types, characters and tokens.

The schema is OpenAI's completions and chat completions, with the fields that vLLM adds. Unknown fields are refused, because the gateway cannot
limit a field that it does not know.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from workbench.core.errors import WorkbenchError
from workbench.core.rows import Json

HIDDEN = frozenset([0x00AD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0xE0000, 0xE0080)])
HIDDEN |= {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
"""Characters that are invisible to a reader but not to a model: directions, zero widths, soft hyphens, tags."""
STRUCTURE = re.compile(rb'["\[\]{}]')
REST_OF_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)  # possessive: one pass, whatever the text
MOST_VALUES = 100_000
BYTES_PER_TOKEN = 3.0  # fewer than byte-pair vocabularies have on average, so that an estimate does not undercount


class BadRequest(WorkbenchError):
    """A request that is refused because it is invalid."""

    def __init__(
        self, status: int, code: str, cause: str, *, field: str | None = None, remedy: str = "Correct the request."
    ) -> None:
        super().__init__(cause, remedy=remedy)
        self.status, self.code, self.field = status, code, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits that every request must keep."""

    max_bytes: int = 1_000_000
    max_depth: int = 16
    max_prompt_tokens: int = 32_768
    max_answer_tokens: int = 4096
    max_total_tokens: int = 32_768
    max_messages: int = 512
    max_choices: int = 4
    allow_hidden: bool = False
    """Whether texts may hold characters of ``HIDDEN``, and control characters other than tab and line ends."""
    allow_images: bool = False


Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
Stop = Annotated[str, Meta(min_length=1, max_length=200)]


class StreamOptions(Struct, forbid_unknown_fields=True):
    """Options of a streamed answer."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class ImageUrl(Struct):
    """URL of an image; only data URLs are accepted."""

    url: str


class TextPart(Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    """A text part of a message."""

    text: str


class ImagePart(Struct, tag="image_url", tag_field="type", forbid_unknown_fields=True):
    """An image part of a message."""

    image_url: ImageUrl


class Message(Struct, forbid_unknown_fields=True):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart | ImagePart], Meta(min_length=1)]
    name: Text | UnsetType = UNSET
    tool_call_id: Text | UnsetType = UNSET

    @property
    def parts(self) -> Sequence[TextPart | ImagePart]:
        """Parts of the content; a plain text is one part."""
        return [TextPart(text=self.content)] if isinstance(self.content, str) else self.content


class Options(Struct, kw_only=True):
    """Fields of both endpoints, with the bounds that no configuration changes."""

    model: Text
    max_tokens: Positive | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=1_000_000)] | UnsetType = UNSET
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=10)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | UnsetType = UNSET
    n: Positive | UnsetType = UNSET
    stop: Stop | Annotated[list[Stop], Meta(max_length=4)] | None = None
    stream: bool | UnsetType = UNSET
    stream_options: StreamOptions | None = None
    ignore_eos: bool | UnsetType = UNSET
    user: Text | UnsetType = UNSET
    return_token_ids: bool | UnsetType = UNSET


class Completion(Options, kw_only=True):
    """A request of the completions endpoint."""

    prompt: Text | Annotated[list[Annotated[int, Meta(ge=0, lt=2**31)]], Meta(min_length=1)]
    echo: bool | UnsetType = UNSET


class Chat(Options, kw_only=True):
    """A request of the chat endpoint."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Positive | UnsetType = UNSET


Request: TypeAlias = Completion | Chat


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """A valid request, which may be forwarded."""

    body: Mapping[str, Json]
    """Fields of the request, as they were sent."""
    request: Request
    texts: tuple[str, ...]
    """Texts of the prompt, in their order."""
    n_prompt_tokens: int
    """Prompt tokens, counted or estimated from bytes."""
    n_answer_tokens: int
    """Largest number of tokens of the answer."""


def check_request(
    raw: bytes, limits: Limits, *, is_chat: bool, count: Callable[[str], int] | None = None
) -> CheckedRequest:
    """Return the parsed request; raises ``BadRequest`` with the status, the field and the reason.

    ``count`` counts the tokens of a text; None: bytes over ``BYTES_PER_TOKEN``.
    """
    if len(raw) > limits.max_bytes:
        raise BadRequest(413, "too_large", f"The body has {len(raw)} bytes; the limit is {limits.max_bytes}.")
    _require_flat(raw, limits.max_depth)
    body = _parsed(raw)
    request = _typed(body, Chat if is_chat else Completion)
    _require_within(request, limits)
    texts = tuple(_texts(request))
    for text in texts:
        _require_plain(text, limits)
    n_prompt = _prompt_tokens(request, texts, count)
    asked_for = request.max_completion_tokens if isinstance(request, Chat) else UNSET
    n_answer = asked_for or request.max_tokens or (limits.max_answer_tokens if is_chat else 16)
    if n_prompt > limits.max_prompt_tokens or n_prompt + n_answer > limits.max_total_tokens:
        raise BadRequest(
            400,
            "too_many_tokens",
            f"The request has about {n_prompt} prompt tokens and asks for {n_answer} answer tokens; the limits are "
            f"{limits.max_prompt_tokens} prompt tokens and {limits.max_total_tokens} tokens together.",
            remedy="Shorten the prompt, or ask for fewer tokens.",
        )
    return CheckedRequest(body=body, request=request, texts=texts, n_prompt_tokens=n_prompt, n_answer_tokens=n_answer)


def _require_flat(raw: bytes, max_depth: int) -> None:
    """Refuse deep nesting and very many values before the JSON is parsed; strings are skipped as wholes."""
    depth = at = 0
    for _ in range(MOST_VALUES):
        mark = STRUCTURE.search(raw, at)
        if mark is None:
            return
        at = mark.end()
        if mark[0] == b'"':
            text = REST_OF_TEXT.match(raw, at)
            if text is None:
                return  # the string does not end; the parser reports it
            at = text.end()
        elif mark[0] in b"[{":
            depth += 1
            if depth > max_depth:
                raise BadRequest(400, "too_deep", f"Values are nested more than {max_depth} deep.")
        else:
            depth -= 1
    raise BadRequest(400, "too_many_values", f"The body has more than {MOST_VALUES} texts and brackets.")


def _parsed(raw: bytes) -> dict[str, Json]:
    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise BadRequest(400, "duplicate_field", "A field occurs twice, and parsers differ on which one counts.")
        return fields

    def no_constant(name: str) -> None:
        raise BadRequest(400, "not_json", f"{name} is not JSON.")

    try:
        body: Json = json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=no_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(400, "not_utf8", f"The body is not UTF-8 at byte {error.start}.") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, "not_json", f"The body is not JSON: {str(error)[:100]}.") from error
    if not isinstance(body, dict):
        raise BadRequest(400, "not_an_object", "The body is not a JSON object.")
    return body


def _wrong(name: str, what: str) -> BadRequest:
    return BadRequest(400, "invalid_field", f"{name} is not {what}.", field=name)


def _typed(body: Mapping[str, Json], kind: type[Chat] | type[Completion]) -> Request:
    """Return the request; raises ``BadRequest`` for a field that is unknown, missing, of another type, or out of its bounds."""
    known = kind.__struct_fields__
    for name in body:
        if name not in known:
            raise BadRequest(400, "unknown_field", f"{name!r:.80} is not a field of this endpoint.", field=name[:80])
    if missing := [name for name in ("model", "messages" if kind is Chat else "prompt") if name not in body]:
        raise BadRequest(400, "missing_field", f"{missing[0]} is missing.", field=missing[0])
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$.")
        place = where.rstrip("`")
        if ".content" in place:
            place = place[: place.index(".content") + len(".content")]
        raise BadRequest(
            400, "invalid_field", f"{place}: {reason}.", field=place if kind is Chat else place.split("[")[0]
        ) from error


def _require_within(request: Request, limits: Limits) -> None:
    """Refuse fields beyond the limits of this gateway."""
    for name, value, most in (
        ("max_tokens", request.max_tokens, limits.max_answer_tokens),
        ("n", request.n, limits.max_choices),
    ):
        _require_at_most(name, value, most)
    if isinstance(request, Completion):
        if isinstance(request.prompt, list) and len(request.prompt) > limits.max_prompt_tokens:
            raise _wrong("prompt", f"a text, or 1 to {limits.max_prompt_tokens} token ids")
        return
    _require_at_most("max_completion_tokens", request.max_completion_tokens, limits.max_answer_tokens)
    if len(request.messages) > limits.max_messages:
        raise _wrong("messages", f"a list of 1 to {limits.max_messages} messages")
    for i, message in enumerate(request.messages):
        for part in message.parts:
            if isinstance(part, TextPart):
                continue
            if not limits.allow_images:
                raise _wrong(f"messages[{i}].content", "a list of text parts; images are not accepted")
            # A server that fetches URLs for a client can be sent anywhere, so only data URLs are accepted.
            if not part.image_url.url.startswith("data:image/"):
                raise _wrong(f"messages[{i}].content", "a data URL: the gateway fetches no other URL for a client")


def _require_at_most(name: str, value: int | UnsetType, most: int) -> None:
    if value and value > most:
        raise _wrong(name, f"a whole number from 1 to {most}")


def _texts(request: Request) -> Sequence[str]:
    if isinstance(request, Completion):
        return [request.prompt] if isinstance(request.prompt, str) else []
    return [p.text for message in request.messages for p in message.parts if isinstance(p, TextPart)]


def _require_plain(text: str, limits: Limits) -> None:
    for char in text if not text.isascii() or not text.isprintable() else "":
        number = ord(char)
        if 0xD800 <= number <= 0xDFFF:
            raise BadRequest(400, "broken_text", "A text holds an unpaired surrogate.")
        if limits.allow_hidden:
            continue
        if (number < 0x20 and char not in "\t\n\r") or 0x7F <= number < 0xA0 or number in HIDDEN:
            raise BadRequest(
                400,
                "hidden_character",
                f"A text holds U+{number:04X}, which is invisible to a reader.",
                remedy="Remove the character.",
            )


def _prompt_tokens(request: Request, texts: Sequence[str], count: Callable[[str], int] | None) -> int:
    if isinstance(request, Completion) and isinstance(request.prompt, list):
        return len(request.prompt)
    if count is not None:
        return sum(count(t) for t in texts)
    return int(sum(len(t.encode("utf-8")) for t in texts) / BYTES_PER_TOKEN) + 1
