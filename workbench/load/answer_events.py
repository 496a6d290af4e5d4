"""What an event of a streamed answer holds: text, usage, its end, or an error. Completions, chat, responses and embeddings.

Servers differ in the types of fields that matter little: an event is read as far as it can be, never dropped for one of them.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import orjson

from workbench.load.messages import Call, Usage

Event: TypeAlias = Mapping[str, object]
BROKEN_OFF = {
    "abort", "aborted", "error", "cancelled", "canceled", "failed", "timeout", "network_error", "server_error", "internal_error",
    "system_error", "insufficient_system_resource",
}  # fmt: skip
"""Values of ``finish_reason`` of an answer that the server gave up (vLLM and SGLang: abort; gateways: error; TensorRT-LLM: timeout;
Zhipu: network_error; DeepSeek: insufficient_system_resource)."""
TEXT_FIELDS = ("content", "reasoning_content", "reasoning", "refusal", "reasoning_details", "audio")
ENDED = ("response.completed", "response.incomplete")
CALL_FIELDS = ("tool_calls", "function_call")
FAILED = {"response.failed": "the response failed", "response.cancelled": "the response was cancelled"}
GOOD_CODES, GOOD_STATES = (
    {0, 200, "0", "200"},
    {"ok", "success", "queued", "pending", "loading", "processing", "running", "in_progress"},
)
"""Values of ``code`` and ``status`` with which a message says how things go, not what went wrong."""
REFUSALS = ("message", "detail", "msg", "errors", "error_msg", "error_message")
"""Fields in which web frameworks and gateways say what went wrong, where they do not write ``error``."""


def loaded(data: bytes) -> object:
    """Return JSON as servers write it: with NaN, bytes that are not UTF-8, halves of surrogate pairs, bare control characters.

    Raises:
        ValueError: It is no JSON even so.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(data.decode("utf-8", errors="replace"), strict=False)
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def repeats(event: Event, *, characters: int) -> bool:
    """Return whether an event of a stream holds the whole answer once more, as some servers send it at the end.

    Others write each part as a message, which is then shorter than the ``characters`` so far, or has no end.
    """
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices or not finish_reason(event) or len(content(event)) < characters:
        return False
    return all(isinstance(c, dict) and c.get("message") and not (c.get("delta") or c.get("text")) for c in choices)


def plain_text(event: Event) -> str | None:
    """Return the text of an event that holds a piece of one answer and nothing else, as most do; None for any other."""
    choices = event.get("choices")
    if type(choices) is not list or len(choices) != 1 or event.get("usage") or event.get("error"):
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") or choice.get("index") or "usage" in choice:
        return None
    text = choice.get("text")
    if text is None:
        delta = choice.get("delta")
        if type(delta) is not dict or delta.get("tool_calls") or delta.get("function_call"):
            return None
        text = delta.get("content")
    return text if type(text) is str and text else None


def content(event: Event) -> str:
    """Return text, reasoning, refusal or calls of all choices in an event, or of a part of a response; "" for none."""
    choices = event.get("choices")
    if isinstance(choices, list):
        if len(choices) == 1:
            return _choice_content(choices[0])
        return "".join(map(_choice_content, choices))
    kind = event.get("type")
    if isinstance(kind, str):
        if kind.endswith(".delta"):
            return text_of(event.get("delta"))
        if kind == "response.completed":
            return ""
    return _output_content(event)


def late_content(event: Event) -> str:
    """Return the text of an event that closes a part of a response, or all of it: what a server without deltas sends."""
    kind, response = event.get("type"), event.get("response")
    if kind in ENDED and isinstance(response, dict):
        return _output_content(response)
    return text_of(event.get("text")) if kind == "response.output_text.done" else ""


def _choice_content(choice: object) -> str:
    if not isinstance(choice, dict):
        return ""
    text = choice.get("text")
    if text:
        return str(text)
    delta = choice.get("delta") or choice.get("message")
    if not isinstance(delta, dict):
        return ""
    found = ""
    for name in TEXT_FIELDS:
        if value := delta.get(name):
            new = value if isinstance(value, str) else text_of(value)
            if new:
                found = new
                break
    for name in CALL_FIELDS:
        if value := delta.get(name):
            found += orjson.dumps(value).decode()
    return found


def text_of(value: object) -> str:
    """Return the text of a content, which may be a list of parts, as reasoning models send it."""
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if isinstance(value, dict):
        return text_of(
            value.get("text")
            or value.get("thinking")
            or value.get("summary")
            or value.get("refusal")
            or value.get("transcript")
            or value.get("data")
            or ""
        )
    return "" if value is None else str(value)


def _output_content(event: Event) -> str:
    """Return the text of a whole response that came as one document, or the mark of an embedding."""
    output, data = event.get("output"), event.get("data")
    if isinstance(output, list):
        texts = [
            text_of(o.get("content") or o.get("summary")) or str(o.get("arguments") or "")
            for o in output
            if isinstance(o, dict)
        ]
        return "".join(texts)
    if isinstance(data, list) and data and isinstance(data[0], dict) and data[0].get("embedding"):
        return "embedding"
    return ""


def finish_reason(event: Event) -> str | None:
    """Return why an answer ended; None where it goes on. An empty text, as older servers send it in each chunk, is no reason."""
    choices = event.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and (reason := choice.get("finish_reason")):
                return str(reason.get("type") if isinstance(reason, dict) else reason).lower()
        return None
    kind = event.get("type")
    if kind in ENDED:
        return str(kind)
    if event.get("object") == "response" and event.get("status") in {"completed", "incomplete"}:
        return str(event["status"])
    return "embedding" if event.get("object") == "list" and "data" in event else None


def usage(event: Event) -> Usage | None:
    """Return the token counts of an event; a count that is no number is not known."""
    found = next(_usages(event), None)
    if found is None:
        return None
    details = found.get("prompt_tokens_details") or found.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if cached is None:
        cached = found.get("prompt_cache_hit_tokens", found.get("cached_tokens"))
    return Usage(
        prompt_tokens=_count(found.get("prompt_tokens", found.get("input_tokens"))),
        completion_tokens=_count(found.get("completion_tokens", found.get("output_tokens"))),
        cached_tokens=_count(cached),
    )


def _usages(event: Event) -> Iterator[Event]:
    """Yield the counts of an event: its own, those of a response, of Groq's extension, or of a choice (Moonshot)."""
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    for place in (event, event.get("response"), event.get("x_groq"), first):
        found = place.get("usage") if isinstance(place, Mapping) else None
        if isinstance(found, dict) and found:
            yield found


def _count(value: object) -> int | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        return None
    return int(value)


def error_text(event: Event, *, name: bytes = b"") -> str | None:
    """Return what went wrong; None where nothing did.

    Args:
        event: As JSON.
        name: Of the event.
    """
    error, kind = event.get("error"), event.get("type")
    response = event.get("response")
    if kind in FAILED:
        error = (response.get("error") if isinstance(response, dict) else None) or FAILED[str(kind)]
    if isinstance(error, dict) and not any(error.values()):
        error = None
    is_refusal = name in {b"", b"message"} and _is_refusal(event)
    if not error and name != b"error" and event.get("object") != "error" and kind != "error" and not is_refusal:
        return None
    if isinstance(error, dict):
        return str(error.get("message") or error)
    return str(error or next((event[name] for name in REFUSALS if event.get(name)), event))


def _is_refusal(event: Event) -> bool:
    """Return whether a document without an answer says that something failed, in the forms of common web frameworks."""
    if event.keys() & {"choices", "output", "data", "type", "usage"} or not any(map(event.get, REFUSALS)):
        return False
    code, state = event.get("code"), event.get("status")
    is_good = isinstance(code, int | str) and code in GOOD_CODES and not isinstance(code, bool)
    return not is_good and not (isinstance(state, str) and state.lower() in GOOD_STATES)


class Parts:
    """Answer and calls of one request, put together from the parts of its stream."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[int, tuple[list[str], list[str]]] = {}

    def add(self, event: Event) -> None:
        """Take what an event of a chat holds for the first choice."""
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        delta = (choice.get("delta") or choice.get("message")) if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            return
        self._texts.append(text_of(delta.get("content")))
        single, several = delta.get("function_call"), delta.get("tool_calls")
        for i, call in enumerate(several if isinstance(several, list) else [{"function": single}] if single else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                number = call.get("index", i)
                names, arguments = self._calls.setdefault(number if isinstance(number, int) else i, ([], []))
                names.append(str(function.get("name") or ""))
                given = function.get("arguments") or ""
                arguments.append(given if isinstance(given, str) else orjson.dumps(given).decode())

    @property
    def answer(self) -> str:
        """Return the text without reasoning."""
        return "".join(self._texts)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Return the calls in their order."""
        return tuple(Call(name="".join(n), arguments="".join(a)) for _, (n, a) in sorted(self._calls.items()))
