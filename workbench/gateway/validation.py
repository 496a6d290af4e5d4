"""Strict checks of a request before anything is spent on it: size, nesting, fields, types, characters, tokens.

The shape is OpenAI's completions and chat completions, with the fields that vLLM adds. What is not known is refused, because a field that a
gateway does not know is one that it cannot bound.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import WorkbenchError

Check = Callable[[Any, str, "Limits"], None]
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
HIDDEN = frozenset(
    [
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0x200B,
        0x200E,
        0x200F,
        0x2060,
        0xFEFF,
        0x00AD,
        *range(0xE0000, 0xE0080),
    ]
)
"""Characters that a reader does not see and a model does: directions, zero widths, soft hyphens, tags."""
STRUCTURE = re.compile(rb'["\[\]{}]')
REST_OF_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)  # possessive: one pass, whatever the text
MOST_VALUES = 100_000
BYTES_PER_TOKEN = (
    3.0  # fewer than byte-pair vocabularies have on average, so that tokens are not undercounted where nobody counts
)


class BadRequest(WorkbenchError):
    """A request that is not passed on."""

    def __init__(
        self, status: int, code: str, cause: str, *, field: str | None = None, remedy: str = "Correct the request."
    ) -> None:
        super().__init__(cause, remedy=remedy)
        self.status, self.code, self.field = status, code, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may be."""

    max_bytes: int = 1_000_000
    max_depth: int = 16
    max_prompt_tokens: int = 32_768
    max_answer_tokens: int = 4096
    max_total_tokens: int = 32_768
    max_messages: int = 512
    max_choices: int = 4
    allow_hidden: bool = False
    """Characters of ``HIDDEN`` and control characters other than tab and line ends."""
    allow_images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """A request that may be passed on."""

    body: Mapping[str, Any]
    texts: tuple[str, ...]
    """What a user wrote, in order."""
    n_prompt_tokens: int
    """Counted, or estimated from bytes."""
    n_answer_tokens: int
    """Most that may be answered."""


def checked(raw: bytes, limits: Limits, *, is_chat: bool, count: Callable[[str], int] | None = None) -> CheckedRequest:
    """Read and check a request.

    Args:
        raw: The body.
        limits: What it may be.
        is_chat: Whether it is of the chat endpoint.
        count: Counts the tokens of a text; None: bytes over ``BYTES_PER_TOKEN``.

    Raises ``BadRequest`` with the status, the field and the reason.
    """
    if len(raw) > limits.max_bytes:
        raise BadRequest(413, "too_large", f"The body has {len(raw)} bytes of at most {limits.max_bytes}.")
    _require_flat(raw, limits.max_depth)
    body = _parsed(raw)
    fields = CHAT if is_chat else COMPLETION
    for name in body:
        if name not in fields:
            raise BadRequest(400, "unknown_field", f"{name!r:.80} is not a field of this endpoint.", field=name[:80])
    needed = ("model", "messages" if is_chat else "prompt")
    for name in needed:
        if name not in body:
            raise BadRequest(400, "missing_field", f"{name} is missing.", field=name)
    for name, value in body.items():
        fields[name](value, name, limits)
    texts = tuple(_texts(body, is_chat=is_chat))
    for text in texts:
        _require_plain(text, limits)
    n_prompt = _prompt_tokens(body, texts, count)
    n_answer = (
        body.get("max_completion_tokens") or body.get("max_tokens") or (limits.max_answer_tokens if is_chat else 16)
    )
    if n_prompt > limits.max_prompt_tokens or n_prompt + n_answer > limits.max_total_tokens:
        raise BadRequest(
            400,
            "too_many_tokens",
            f"About {n_prompt} prompt tokens and {n_answer} for the answer, of {limits.max_prompt_tokens} and "
            f"{limits.max_total_tokens} together.",
            remedy="Shorten the prompt, or ask for fewer tokens.",
        )
    return CheckedRequest(body=body, texts=texts, n_prompt_tokens=n_prompt, n_answer_tokens=int(n_answer))


def _require_flat(raw: bytes, max_depth: int) -> None:
    """Refuse deep nesting and very many values before a parser sees them; texts are passed over as wholes."""
    depth = at = 0
    for _ in range(MOST_VALUES):
        found = STRUCTURE.search(raw, at)
        if found is None:
            return
        at = found.end()
        if found[0] == b'"':
            text = REST_OF_TEXT.match(raw, at)
            if text is None:
                return  # it does not end: the parser says so
            at = text.end()
        elif found[0] in b"[{":
            depth += 1
            if depth > max_depth:
                raise BadRequest(400, "too_deep", f"Values are nested more than {max_depth} deep.")
        else:
            depth -= 1
    raise BadRequest(400, "too_many_values", f"The body has more than {MOST_VALUES} texts and brackets.")


def _parsed(raw: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise BadRequest(400, "duplicate_field", "A field occurs twice: readers differ on which one counts.")
        return made

    def no_constant(name: str) -> None:
        raise BadRequest(400, "not_json", f"{name} is not JSON.")

    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=no_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(400, "not_utf8", f"The body is not UTF-8 at byte {error.start}.") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, "not_json", f"The body is not JSON: {str(error)[:100]}.") from error
    if not isinstance(body, dict):
        raise BadRequest(400, "not_an_object", "The body is not a JSON object.")
    return body


def _wrong(name: str, what: str) -> BadRequest:
    return BadRequest(400, "invalid_field", f"{name} is not {what}.", field=name)


def _text(value: Any, name: str, _limits: Limits) -> None:
    if not isinstance(value, str) or not value:
        raise _wrong(name, "a text that is not empty")


def _flag(value: Any, name: str, _limits: Limits) -> None:
    if not isinstance(value, bool):
        raise _wrong(name, "true or false")


def _whole(low: int, high: Callable[[Limits], int]) -> Check:
    def check(value: Any, name: str, limits: Limits) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high(limits):
            raise _wrong(name, f"a whole number from {low} to {high(limits)}")

    return check


def _number(low: float, high: float, *, may_be_null: bool = True) -> Check:
    def check(value: Any, name: str, _limits: Limits) -> None:
        if value is None and may_be_null:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _wrong(name, f"a number from {low:g} to {high:g}")

    return check


def _stop(value: Any, name: str, _limits: Limits) -> None:
    texts = [value] if isinstance(value, str) else value
    if value is not None and (
        not isinstance(texts, list)
        or len(texts) > 4
        or not all(isinstance(t, str) and 0 < len(t) <= 200 for t in texts)
    ):
        raise _wrong(name, "a text or up to four of them, of 1 to 200 characters")


def _stream_options(value: Any, name: str, _limits: Limits) -> None:
    known = {"include_usage", "continuous_usage_stats"}
    if value is not None and not (
        isinstance(value, dict) and set(value) <= known and all(isinstance(v, bool) for v in value.values())
    ):
        raise _wrong(name, f"an object with {' or '.join(sorted(known))}, each true or false")


def _prompt(value: Any, name: str, limits: Limits) -> None:
    if isinstance(value, str) and value:
        return
    is_ids = (
        isinstance(value, list)
        and 0 < len(value) <= limits.max_prompt_tokens
        and all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < 2**31 for i in value)
    )
    if not is_ids:
        raise _wrong(name, f"a text that is not empty, or 1 to {limits.max_prompt_tokens} token ids")


def _messages(value: Any, name: str, limits: Limits) -> None:
    if not isinstance(value, list) or not 0 < len(value) <= limits.max_messages:
        raise _wrong(name, f"a list of 1 to {limits.max_messages} messages")
    for i, message in enumerate(value):
        where = f"{name}[{i}]"
        if not isinstance(message, dict) or set(message) - {"role", "content", "name", "tool_call_id"}:
            raise _wrong(where, "an object with role and content")
        if message.get("role") not in ROLES:
            raise _wrong(f"{where}.role", f"one of {', '.join(sorted(ROLES))}")
        for field in ("name", "tool_call_id"):
            if field in message:
                _text(message[field], f"{where}.{field}", limits)
        _content(message.get("content"), f"{where}.content", limits)


def _content(value: Any, where: str, limits: Limits) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not value:
        raise _wrong(where, "a text or a list of parts")
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and set(part) == {"type", "text"} and isinstance(part["text"], str):
            continue
        if kind == "image_url" and limits.allow_images and set(part) == {"type", "image_url"}:
            url = part["image_url"].get("url") if isinstance(part["image_url"], dict) else None
            # A server that fetches addresses for a client can be sent anywhere: only data that came along.
            if isinstance(url, str) and url.startswith("data:image/"):
                continue
            raise _wrong(where, "an image as data: other addresses are not fetched for a client")
        raise _wrong(where, "made of text parts" + (" and images" if limits.allow_images else ""))


_COMMON: dict[str, Check] = {
    "model": _text,
    "max_tokens": _whole(1, lambda limits: limits.max_answer_tokens),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _whole(-1, lambda _: 1_000_000),
    "min_p": _number(0, 1),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "repetition_penalty": _number(0.01, 10),
    "seed": _whole(-(2**63), lambda _: 2**63 - 1),
    "n": _whole(1, lambda limits: limits.max_choices),
    "stop": _stop,
    "stream": _flag,
    "stream_options": _stream_options,
    "ignore_eos": _flag,
    "user": _text,
}
COMPLETION: dict[str, Check] = {**_COMMON, "prompt": _prompt, "echo": _flag, "return_token_ids": _flag}
CHAT: dict[str, Check] = {
    **_COMMON,
    "messages": _messages,
    "max_completion_tokens": _whole(1, lambda limits: limits.max_answer_tokens),
    "return_token_ids": _flag,
}


def _texts(body: Mapping[str, Any], *, is_chat: bool) -> Sequence[str]:
    if not is_chat:
        return [body["prompt"]] if isinstance(body["prompt"], str) else []
    found = []
    for message in body["messages"]:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        found += [p["text"] for p in parts if p.get("type") == "text"]
    return found


def _require_plain(text: str, limits: Limits) -> None:
    for char in text if not text.isascii() or not text.isprintable() else "":
        number = ord(char)
        if 0xD800 <= number <= 0xDFFF:
            raise BadRequest(400, "broken_text", "A text holds half of a surrogate pair.")
        if limits.allow_hidden:
            continue
        if (number < 0x20 and char not in "\t\n\r") or 0x7F <= number < 0xA0 or number in HIDDEN:
            raise BadRequest(
                400,
                "hidden_character",
                f"A text holds U+{number:04X}, which a reader does not see.",
                remedy="Leave it out.",
            )


def _prompt_tokens(body: Mapping[str, Any], texts: Sequence[str], count: Callable[[str], int] | None) -> int:
    if isinstance(body.get("prompt"), list):
        return len(body["prompt"])
    if count is not None:
        return sum(count(t) for t in texts)
    return int(sum(len(t.encode("utf-8")) for t in texts) / BYTES_PER_TOKEN) + 1
