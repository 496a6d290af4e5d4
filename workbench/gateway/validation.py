"""Checks of requests before any work: size, nesting, the fields that the gateway knows, and tokens.

A known field is checked by type and bounds, an unknown one is passed on, and only a rule of ``Limits`` refuses what is valid.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import msgspec

from workbench.core.errors import InvalidSpec
from workbench.core.rows import Json
from workbench.gateway.endpoints import Completion, Embedding, Endpoint, Request
from workbench.gateway.request_json import BadRequest, parse_object

HIDDEN = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]"
    "|(?<![\\U000e0020-\\U000e007f\\U0001f3f4])[\\U000e0000-\\U000e007f]"
)
"""Control characters, changes of direction, and tags outside of a flag: what hides an instruction from a reader."""
SURROGATE = re.compile("[\ud800-\udfff]")
BYTES_PER_TOKEN = 3.0  # fewer than byte-pair vocabularies have on average, so that an estimate does not undercount
TOKENS_PER_MESSAGE = 8  # role, delimiters and the beginning of the answer in common chat templates
TEXTS = frozenset({"content", "text", "arguments", "output", "prompt", "suffix", "input", "instructions", "refusal"})
MEDIA = frozenset({"image_url", "video_url", "audio_url", "file_url"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits that every request must keep, and rules that refuse what the server would accept."""

    max_bytes: int = 1_000_000
    max_depth: int = 64
    max_prompt_tokens: int = 32_768
    max_answer_tokens: int = 4096
    """Largest answer of one choice; written into a request that leaves its limit out."""
    max_total_tokens: int = 32_768
    """Largest number of tokens of prompt and answer together, such as the context length of the model."""
    max_messages: int = 2048
    max_choices: int = 4
    refuse_fields: tuple[str, ...] = ()
    """Fields that no request may have."""
    refuse_hidden: bool = False
    """Whether texts with characters of ``HIDDEN`` are refused."""
    allow_images: bool = True
    """Whether requests may hold images, video, audio and files."""
    allow_remote_media: bool = False
    """Whether the server may be asked to fetch URLs; a server that fetches for clients can be sent into its own network."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not isinstance(value, bool | tuple) and value < 1:
                raise InvalidSpec(f"limits.{f.name} is {value}.", remedy="Give one or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """A valid request, which may be forwarded."""

    endpoint: Endpoint
    body: Mapping[str, Json]
    """Fields of the request, as they were sent."""
    added: Mapping[str, Json]
    """Fields that the gateway adds: the limit of the answer, and the question for the usage."""
    request: Request
    texts: tuple[str, ...]
    """Texts of the prompt, in their order."""
    n_prompt_tokens: int
    """Prompt tokens, counted or estimated from bytes."""
    n_answer_tokens: int
    """Largest number of tokens of all answers."""

    @property
    def forwarded(self) -> dict[str, Json]:
        """Fields that are sent to the server."""
        return {**self.body, **self.added}

    @property
    def wants_usage(self) -> bool:
        """Whether the client asked for the usage of a stream, or the endpoint always sends it."""
        options = self.request.stream_options
        return not self.endpoint.has_usage_option or (options is not None and bool(options.include_usage))


def check_request(
    raw: bytes, limits: Limits, *, endpoint: Endpoint, count: Callable[[str], int] | None = None
) -> CheckedRequest:
    """Return the parsed request; raises ``BadRequest`` with the status, the field and the reason.

    ``count`` counts the tokens of a text; None: bytes over ``BYTES_PER_TOKEN``.
    """
    if len(raw) > limits.max_bytes:
        raise BadRequest(413, "too_large", f"The body has {len(raw)} bytes; the limit is {limits.max_bytes}.")
    body = parse_object(raw, max_depth=limits.max_depth)
    for name in limits.refuse_fields:
        if name in body:
            raise BadRequest(400, "refused_field", f"{name} is refused by a rule of this gateway.", field=name)
    request = _typed(body, endpoint)
    texts = tuple(t for name in endpoint.prompt for t in _texts(body.get(name), name))
    _require_within(request, endpoint, limits)
    for name, value in body.items():
        _require_plain(value, name, limits)
    n_prompt = _prompt_tokens(request, texts, count)
    n_each, added = _answer_limit(request, endpoint, limits, n_prompt)
    if n_prompt > limits.max_prompt_tokens or n_prompt + n_each > limits.max_total_tokens:
        raise BadRequest(
            400,
            "too_many_tokens",
            f"The request has about {n_prompt} prompt tokens and asks for {n_each} answer tokens; the limits are "
            f"{limits.max_prompt_tokens} prompt tokens and {limits.max_total_tokens} tokens together.",
            field=endpoint.needs[0],
            remedy="Shorten the prompt, or ask for fewer tokens.",
        )
    if request.stream and endpoint.has_usage_option:
        options = body.get("stream_options")
        added["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
    return CheckedRequest(
        endpoint=endpoint,
        body=body,
        added=added,
        request=request,
        texts=texts,
        n_prompt_tokens=n_prompt if endpoint.is_charged else 0,
        n_answer_tokens=n_each * _n_answers(request),
    )


def _answer_limit(request: Request, endpoint: Endpoint, limits: Limits, n_prompt: int) -> tuple[int, dict[str, Json]]:
    """Return the largest number of tokens of one choice, and the field that makes the server keep it where the request has none."""
    if not endpoint.limits:
        return 0, {}
    given = [n for name in endpoint.limits if (n := getattr(request, name)) is not None]
    if given:
        return max(given), {}
    most = max(1, min(limits.max_answer_tokens, limits.max_total_tokens - n_prompt))
    most = min(most, endpoint.default_answer_tokens or most)
    return most, {endpoint.limits[0]: most}


def _n_answers(request: Request) -> int:
    """Return how many answers are computed: choices of every prompt."""
    n = max(request.n or 1, request.best_of or 1)
    prompt = request.prompt if isinstance(request, Completion) else None
    is_batch = isinstance(prompt, list) and not isinstance(prompt[0], int)
    return n * len(prompt) if is_batch and prompt is not None else n


def _wrong(name: str, what: str, remedy: str = "Correct the request.") -> BadRequest:
    return BadRequest(400, "invalid_field", f"{name} is not {what}.", field=name, remedy=remedy)


def _typed(body: Mapping[str, Json], endpoint: Endpoint) -> Request:
    """Return the request; raises ``BadRequest`` for a known field of another type or out of its bounds, or one that is missing."""
    if all(body.get(name) is None for name in endpoint.needs):
        name = endpoint.needs[0]
        raise BadRequest(400, "missing_field", f"{name} is missing.", field=name)
    try:
        return msgspec.convert(body, endpoint.kind)
    except UnicodeEncodeError as error:
        name = next((k for k, v in body.items() if _is_broken(k) or (isinstance(v, str) and _is_broken(v))), "body")
        field = name.encode("ascii", "backslashreplace").decode()
        cause = f"{field} holds half of a pair of surrogates where no text is expected."
        raise BadRequest(400, "invalid_field", cause, field=field) from error
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$.")
        place = where.rstrip("`")
        if ".content" in place:
            place = place[: place.index(".content") + len(".content")]
        if not place.startswith("messages"):
            place = place.split("[")[0]
        raise BadRequest(400, "invalid_field", f"{place}: {reason}.", field=place) from error


def _is_broken(text: str) -> bool:
    """Return whether a text cannot be written in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _require_within(request: Request, endpoint: Endpoint, limits: Limits) -> None:
    """Refuse fields beyond the limits of this gateway."""
    most = dict.fromkeys(endpoint.limits, limits.max_answer_tokens) | {
        "n": limits.max_choices,
        "best_of": limits.max_choices,
    }
    for name, largest in most.items():
        value = getattr(request, name)
        if value is not None and value > largest:
            raise _wrong(name, f"a whole number of at most {largest}")
    prompts = getattr(request, endpoint.needs[0])
    is_list = isinstance(request, Completion | Embedding) and isinstance(prompts, list)
    if is_list and len({type(one) for one in prompts}) > 1:
        raise _wrong(endpoint.needs[0], "a list of texts, of token ids, or of lists of token ids")
    messages = getattr(request, "messages", None)
    if messages is not None and len(messages) > limits.max_messages:
        raise _wrong("messages", f"a list of 1 to {limits.max_messages} messages")


def _texts(value: Json, name: str) -> Iterator[str]:
    """Yield the texts of a field of the prompt, in their order; definitions of tools as JSON."""
    if name in {"tools", "functions"}:
        if value:
            yield json.dumps(value, ensure_ascii=False)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value if not value or not isinstance(value[0], int) else ():
            yield from _texts(one, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in TEXTS or isinstance(inner, dict | list):
                yield from _texts(inner, key)


def _require_plain(value: Json, place: str, limits: Limits) -> None:
    """Refuse texts that are no Unicode, and what the rules refuse; ``place`` names the value."""
    if isinstance(value, str):
        if not value.isascii() and SURROGATE.search(value):
            raise BadRequest(400, "broken_text", f"{place} holds an unpaired surrogate.", field=place)
        if limits.refuse_hidden and (found := HIDDEN.search(value)):
            cause = f"{place} holds U+{ord(found[0]):04X}, which is invisible to a reader."
            raise BadRequest(400, "hidden_character", cause, field=place, remedy="Remove the character.")
    elif isinstance(value, list):
        for i, one in enumerate(value) if value and not isinstance(value[0], int) else ():
            _require_plain(one, f"{place}[{i}]", limits)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in MEDIA and place.startswith(("messages", "input")):
                _require_media(inner, place, limits)
            _require_plain(key, place, limits)
            _require_plain(inner, f"{place}.{key}", limits)


def _require_media(value: Json, place: str, limits: Limits) -> None:
    place = place[: place.index(".content") + len(".content")] if ".content" in place else place
    if not limits.allow_images:
        raise _wrong(place, "a list of text parts; images are not accepted")
    url = value.get("url") if isinstance(value, dict) else value
    if url is not None and not limits.allow_remote_media and not str(url).startswith("data:"):
        raise _wrong(
            place, "a data URL: the gateway lets the server fetch no other URL for a client", "Send the data itself."
        )


def _prompt_tokens(request: Request, texts: Sequence[str], count: Callable[[str], int] | None) -> int:
    n = TOKENS_PER_MESSAGE * len(getattr(request, "messages", None) or ())
    ids = (request.prompt if isinstance(request, Completion) else None) or (
        request.input if isinstance(request, Embedding) else None
    )
    if isinstance(ids, list):
        n += sum(1 if isinstance(one, int) else len(one) if isinstance(one, list) else 0 for one in ids)
    if count is not None:
        return n + sum(count(t) for t in texts)
    return n + (int(sum(len(t.encode("utf-8", "replace")) for t in texts) / BYTES_PER_TOKEN) + 1 if texts else 0)
