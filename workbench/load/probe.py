"""A few fixed questions before a load: how fast a server is when it is asked alone, and whether it answers as it did.

A load's latencies mix what is sent with how fast it is worked on. The same few requests, one after the other, tell the second apart; the
round trip of ``/health`` tells the way to the server, and ``/tokenize`` (of vLLM and of the workbench's servers) the time of the tokenizer. The answers are greedy, so the
same model in the same precision gives the same texts.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import msgspec
import orjson
from prometheus_client.parser import text_string_to_metric_families

from workbench.load.answer_events import BROKEN_OFF, content, error_text, finish_reason
from workbench.load.ask import Asker as PlainAsker
from workbench.load.event_stream import EventStream
from workbench.load.prompts import simple_body
from workbench.load.rows import Probe, ServedModel, ServerCard
from workbench.load.spec import LoadSpec

T = TypeVar("T")
QUESTIONS = (
    "import os\n\n\ndef walk(path):\n",
    "class Counter:\n    def __init__(self, start=0):\n",
    "def test_sorted_keeps_equal_items_in_order():\n",
    "The three steps of a request are",
    "for name, value in sorted(",
    "try:\n    import json\nexcept ImportError:\n",
    "# Returns the greatest common divisor of a and b.\ndef gcd(a, b):\n",
    "raise ValueError(",
)
ANSWER_TOKENS = 16
LONG_WORDS = 192
ROUNDS = 5
TIMEOUT_S = 20.0


def probe(spec: LoadSpec) -> Probe:
    """Return how fast the server is when it is asked alone, and what it answers; nothing is raised."""
    problems: dict[str, str] = {}

    asker = Asker(spec)

    def timed(name: str, ask: Callable[[], float], rounds: int = ROUNDS) -> float | None:
        try:
            return median(ask() for _ in range(rounds))
        except (OSError, ValueError) as error:
            problems[name] = asker.redacted(f"{type(error).__name__}: {error}")
            return None

    words = " ".join(f"word{i % 97} of" for i in range(LONG_WORDS // 2))
    asked = {"model": spec.model, "prompt": words}
    health = timed("health_s", lambda: asker.seconds("GET", "/health"), ROUNDS + 4)
    tokenize = timed("tokenize_s", lambda: asker.seconds("POST", "/tokenize", asked))
    answers = [asker.answered(q) for q in QUESTIONS]
    long = [asker.answered(f"{uuid.uuid4().hex} {words}", max_tokens=1) for _ in range(ROUNDS)]
    asker.close()
    failed = [a.error for a in (*answers, *long) if a.error]
    if failed:
        problems["answers"] = failed[0]
    return Probe(
        health_s=health,
        tokenize_s=tokenize,
        ttft_s=_middle(a.ttft_s for a in answers[1:]),
        tpot_s=_middle(a.tpot_s for a in answers[1:]),
        long_ttft_s=_middle(a.ttft_s for a in long),
        answers=tuple(a.text for a in answers),
        failed_fraction=len(failed) / (len(answers) + len(long)),
        problems=problems,
    )


def _middle(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return median(known) if known else None


def described(spec: LoadSpec) -> ServerCard:
    """Return what the server says of itself: its models, its version, and its cache and batch limits."""
    asker = Asker(spec)

    def read(path: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode(asker.body("GET", path), type=kind)
        except (OSError, ValueError):
            return None

    models = read("/v1/models", _Models)
    about = read("/version", dict[str, object])
    version = {name: None if value is None else str(value) for name, value in (about or {}).items()}
    try:
        limits = _limits(asker.body("GET", "/metrics").decode("utf-8", errors="replace"))
    except (OSError, ValueError, LookupError):  # a page that is none of Prometheus'
        limits = {}
    asker.close()
    return ServerCard(models=models.data if models else None, version=version or None, limits=limits)


class _Models(msgspec.Struct):
    data: tuple[ServedModel, ...] = ()


def _limits(page: str) -> dict[str, str]:
    """Return the labels of ``cache_config_info`` that size the cache and the batch."""
    families = text_string_to_metric_families(page)
    found = next((s.labels for f in families for s in f.samples if s.name.endswith("cache_config_info")), {})
    return {k: found[k] for k in ("num_gpu_blocks", "block_size", "max_num_seqs", "cache_dtype") if k in found}


class Asker:
    """Asks one after the other over one connection, opened again when it was lost."""

    def __init__(self, spec: LoadSpec) -> None:
        self._spec, self._asker = spec, PlainAsker(spec, timeout_s=TIMEOUT_S)
        self.redacted = self._asker.redacted

    def body(self, method: str, path: str, asked: Mapping[str, object] | None = None) -> bytes:
        """Return the whole answer; raises ``ValueError`` for any status but 200."""
        address = self._asker.address
        target = address.versioned(path.removeprefix("/v1")) if path.startswith("/v1/") else address.plain(path)
        reply = self._asker.ask(method, target, asked)
        if reply.status != 200:
            raise ValueError(f"status {reply.status}")
        return reply.body

    def seconds(self, method: str, path: str, asked: Mapping[str, object] | None = None) -> float:
        """Return the time until an answer is complete."""
        started = time.perf_counter()
        self.body(method, path, asked)
        return time.perf_counter() - started

    def answered(self, question: str, *, max_tokens: int = ANSWER_TOKENS) -> "Answer":
        """Return text and times of a streamed answer, or the error."""
        asked = simple_body(self._spec, question, output_tokens=max_tokens)
        target = self._asker.address.route(self._spec.endpoint)
        reading = _Reading()
        started = time.perf_counter()
        try:
            reply = self._asker.ask("POST", target, asked, on_body=reading.stream.feed)
        except (OSError, ValueError) as error:
            return Answer(error=self.redacted(f"{type(error).__name__}: {error}"))
        if reply.status != 200:
            return Answer(error=f"status {reply.status}")
        answer = reading.answer(started)
        return answer if answer.error is None else Answer(error=self.redacted(answer.error))

    def close(self) -> None:
        """Close the connection to the server."""
        self._asker.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A streamed answer, or why there is none."""

    text: str | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    error: str | None = None


class _Reading:
    """A streamed answer while it comes."""

    def __init__(self) -> None:
        self.stream = EventStream(self._event)
        self._at: list[float] = []
        self._text, self._has_ended = "", False
        self._error: str | None = None

    def _event(self, name: bytes, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self._has_ended = True
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._error = self._error or "an event is not JSON"
            return
        if not isinstance(event, dict):
            return
        self._error = self._error or error_text(event, name=name)
        if new := content(event):
            self._at.append(time.perf_counter())
            self._text += new
        if reason := finish_reason(event):
            self._has_ended = True
            if reason in BROKEN_OFF:
                self._error = self._error or f"finish_reason {reason}"

    def answer(self, started: float) -> Answer:
        """Return text and times of what has come, or the error."""
        if rest := self.stream.end():
            self._event(b"", rest)
        at = self._at
        if self._error is not None:
            return Answer(error=self._error)
        if not at:
            return Answer(error="no token came")
        if not self._has_ended:
            return Answer(error="the answer broke off")
        tpot = (at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else None
        return Answer(text=self._text, ttft_s=at[0] - started, tpot_s=tpot)
