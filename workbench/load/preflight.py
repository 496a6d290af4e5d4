"""Small requests before a load tell whether the server answers, and which fields it takes."""

import re
import ssl
from dataclasses import dataclass, replace

from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.load.address import SUFFIXES, Address
from workbench.load.answer_events import error_text, loaded
from workbench.load.ask import MOST_PAUSE_S, Asker, Reply, asked_again, served_models
from workbench.load.bodies import prompt_field
from workbench.load.event_stream import EventStream
from workbench.load.messages import Body
from workbench.load.prompts import LENGTH_FIELDS, usual_fields
from workbench.load.spec import LoadSpec

OPTIONAL = ("stream_options.continuous_usage_stats", "ignore_eos", "stream_options", "temperature")
"""Fields that a load can do without, those that fewest servers take first."""
OTHER_LENGTH = "max_completion_tokens"
PROBE_TIMEOUT_S = 60.0
TRIES, FEWER_TRIES = 5, 2
MOST_QUESTIONS = 12


class ServerProblem(WorkbenchError):
    """The server cannot be measured as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What requests to this server look like."""

    base_url: str
    target: str
    """Path and query."""
    length_field: str | None
    """Field that limits the answer."""
    without: tuple[str, ...] = ()
    """Fields that this server refuses; "a.b" is a field of a field."""
    notes: tuple[str, ...] = ()
    """What a reader should know of how the server was asked."""

    def fields(self, spec: LoadSpec) -> Body:
        """Return the fields of each body, apart from the prompt and the length of the answer."""
        fields = usual_fields(spec)
        for name in self.without:
            outer, _, inner = name.partition(".")
            if inner and isinstance(value := fields.get(outer), dict):
                fields[outer] = {k: v for k, v in value.items() if k != inner}
            elif not inner:
                fields.pop(outer, None)
        return fields

    def body(self, spec: LoadSpec, text: str, *, output_tokens: int) -> Body:
        """Return the JSON object of one request."""
        length: Body = {self.length_field: output_tokens} if self.length_field else {}
        return prompt_field(spec.endpoint, text) | length | self.fields(spec)


def usual_dialect(spec: LoadSpec) -> Dialect:
    """Return how a server is asked that takes every field."""
    address = Address.of(spec.url)
    field = spec.max_tokens_field or LENGTH_FIELDS.get(spec.endpoint)
    return Dialect(base_url=spec.url, target=address.route(spec.endpoint), length_field=field)


def known_dialect(spec: LoadSpec) -> Dialect:
    """Return how this server is asked, found by asking for a few tokens; what it refuses is dropped, field by field.

    Raises:
        ServerProblem: nobody answers, the model is unknown, a key is missing, or anything else but an answer.
    """
    with Asker(spec, timeout_s=PROBE_TIMEOUT_S) as asker:
        return _Questions(spec, asker).dialect()


class _Questions:
    def __init__(self, spec: LoadSpec, asker: Asker) -> None:
        self.spec, self.asker = spec, asker
        self.found = usual_dialect(spec)
        self.tried: set[tuple[tuple[str, ...], str | None, str]] = set()

    def dialect(self) -> Dialect:
        reply = self._ask(TRIES)
        for _ in range(MOST_QUESTIONS):
            problem = _failure(reply)
            if problem is None:
                return self._redirected(reply)
            following = self._following(reply.status, problem)
            if following is None:
                break
            self.found = following
            reply = self._ask(FEWER_TRIES)
        raise self._problem(reply)

    def _ask(self, tries: int) -> Reply:
        body = self.found.body(self.spec, "Hello there", output_tokens=2)
        self.tried.add(self._state(self.found))

        def ask() -> Reply:
            return self.asker.ask("POST", self.found.target, body)

        try:
            return asked_again(ask, tries=tries, patience_s=min(MOST_PAUSE_S, self.spec.timeout_s))
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error

    @staticmethod
    def _state(dialect: Dialect) -> tuple[tuple[str, ...], str | None, str]:
        return dialect.without, dialect.length_field, dialect.target

    def _following(self, status: int, text: str) -> Dialect | None:
        """Return what to try next; None where nothing is left to try."""
        if status in {401, 403, 429} or 300 <= status < 400:
            return None
        if status == 404:
            return self._new(replace(self.found, target=self._without_version()))
        # Whole names only: a message that speaks of stream_options means another field than one about stream.
        named = [n for n in OPTIONAL if re.search(rf"\b{re.escape(n.rpartition('.')[2])}\b", text)]
        tries: list[Dialect | None] = []
        length = self.found.length_field
        if length == "max_tokens" and self.spec.max_tokens_field is None and OTHER_LENGTH in text:
            tries.append(self._with_other_length())
        tries += [self._dropping(name) for name in (*named, *OPTIONAL)]
        if length == "max_tokens" and self.spec.max_tokens_field is None:
            tries.append(self._with_other_length())
        return next((t for t in map(self._new, tries) if t is not None), None)

    def _new(self, dialect: Dialect | None) -> Dialect | None:
        return None if dialect is None or self._state(dialect) in self.tried else dialect

    def _dropping(self, name: str) -> Dialect | None:
        given = usual_fields(self.spec)
        outer, _, inner = name.partition(".")
        value = given.get(outer)
        if outer not in given or (inner and not (isinstance(value, dict) and inner in value)):
            return None
        if name in self.found.without or outer in self.found.without or outer in self.spec.extra_fields():
            return None
        kept = tuple(n for n in self.found.without if not n.startswith(f"{name}."))
        return replace(self.found, without=(*kept, name))

    def _with_other_length(self) -> Dialect:
        return replace(self.found, length_field=OTHER_LENGTH, notes=(f"{OTHER_LENGTH} instead of max_tokens",))

    def _without_version(self) -> str:
        """Return the route without /v1, as some gateways have it."""
        suffix = SUFFIXES[self.spec.endpoint]
        return self.found.target.replace(f"/v1{suffix}", suffix)

    def _redirected(self, reply: Reply) -> Dialect:
        """Return the dialect for the place that a redirect led to."""
        asked = self.asker.address
        if reply.address.origin == asked.origin:
            return replace(self.found, target=reply.target)
        note = f"requests go to {reply.address.origin}, where {asked.origin} redirects them"
        return replace(self.found, base_url=reply.address.origin, target=reply.target, notes=(*self.found.notes, note))

    def _problem(self, reply: Reply) -> ServerProblem:
        base, status = self.spec.base_url, reply.status
        text = self.asker.redacted(_failure(reply) or reply.message())
        if 300 <= status < 400:
            where = self.asker.redacted(reply.headers.get("location", "nowhere"))
            why = (
                gettext("which is another server: no key is sent there unasked")
                if status in {307, 308}
                else gettext("which is meant for pages, not for questions")
            )
            return ServerProblem(
                gettext("{base} redirects to {where} (HTTP {status}), {why}.").format(
                    base=base, where=where, status=status, why=why
                ),
                remedy=gettext("Name that URL, if you trust it."),
            )
        if status in {401, 403}:
            return ServerProblem(
                gettext("{base} refuses the request without a valid key (HTTP {status}: {text}).").format(
                    base=base, status=status, text=text
                ),
                remedy=gettext(
                    "Put the key into the environment variable {variable}; --api-key-header names another header than Authorization."
                ).format(variable=self.spec.api_key_env),
            )
        models = served_models(self.spec)
        if models and self.spec.model not in models:
            return ServerProblem(
                gettext("{base} does not serve the model {model} (HTTP {status}).").format(
                    base=base, model=repr(self.spec.model), status=status
                ),
                remedy=gettext("It serves: {names}.").format(names=", ".join(models)),
            )
        if status == 404:
            return ServerProblem(
                gettext("{base} has no OpenAI-compatible {endpoint} route (HTTP 404: {text}).").format(
                    base=base, endpoint=self.spec.endpoint, text=text
                ),
                remedy=gettext("Check the URL, and try another endpoint."),
            )
        remedy = gettext("The server's log has the details.")
        if "chat template" in text and self.spec.endpoint in {"chat", "responses"}:
            remedy = gettext(
                "The model has no chat template: use --endpoint completions, or start the server with a template."
            )
        return ServerProblem(
            gettext("{base} answered HTTP {status}: {text}.").format(base=base, status=status, text=text.rstrip(".")),
            remedy=remedy,
        )

    def _unreachable(self, error: Exception) -> ServerProblem:
        base, text = self.spec.base_url, self.asker.redacted(gettext(getattr(error, "strerror", None) or "") or error)
        if isinstance(error, TimeoutError):
            return ServerProblem(
                gettext("{base} took the request but did not answer within {seconds} s.").format(
                    base=base, seconds=f"{self.asker.timeout_s:g}"
                ),
                remedy=gettext("Check the server's log, or raise the timeout."),
            )
        if isinstance(error, ssl.SSLError):
            return ServerProblem(
                gettext("{base} has a certificate that is not trusted, or speaks no TLS: {error}.").format(
                    base=base, error=self.asker.redacted(error)
                ),
                remedy=gettext("Name the authority's certificate with --ca FILE, or take any with --insecure."),
            )
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return ServerProblem(
                gettext("{base} closed the connection before its answer was complete.").format(base=base),
                remedy=gettext("The server's log should say why."),
            )
        if isinstance(error, ValueError):
            return ServerProblem(
                gettext("{base} does not answer as HTTP does: {text}.").format(base=base, text=text),
                remedy=gettext("Check the URL and its scheme."),
            )
        return ServerProblem(
            gettext("No server answers at {base}: {text}.").format(base=base, text=text),
            remedy=gettext("Start one (`workbench serve MODEL`), or correct the URL."),
        )


def _failure(reply: Reply) -> str | None:
    """Return why a reply is no answer; None for an answer. An error inside a 200 is found too, a refused field for example."""
    if not 200 <= reply.status < 300:
        return reply.message()
    found: list[str | None] = []
    stream = EventStream(lambda name, data: found.append(_error_of(name, data)))
    stream.feed(reply.body)
    if rest := stream.end():
        found.append(_error_of(b"", rest))
    if not found:
        return f"neither an event stream nor JSON: {reply.message()}"
    return next((error for error in found if error), None)


def _error_of(name: bytes, data: bytes) -> str | None:
    try:
        event = loaded(data)
    except ValueError:
        return None
    return error_text(event, name=name) if isinstance(event, dict) else None
