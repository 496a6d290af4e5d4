"""A few fixed questions before a load: how fast a server is when it is asked alone, and whether it answers as it did.

A load's latencies mix what is sent with how fast it is worked on. The same few requests, one after the other, tell the second apart; the
round trip of ``/health`` tells the way to the server, and ``/tokenize`` (vLLM's and ours) tells the tokenizer. The answers are greedy, so the
same model in the same precision gives the same texts.
"""

import http.client
import time
import uuid
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import orjson

from workbench.core.load import LoadSpec
from workbench.load.process import api_headers

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


def probe(spec: LoadSpec) -> dict[str, Any]:
    """Seconds of round trip, tokenizing, first token (of a short and a long prompt) and each further token, and the answers.

    What a server does not have or fails at is None, with its reason under ``problems``; nothing is raised.
    """
    told: dict[str, Any] = {"problems": {}}

    def timed(name: str, ask: Callable[[], Any], rounds: int = ROUNDS) -> None:
        try:
            told[name] = median(ask() for _ in range(rounds))
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            told[name] = None
            told["problems"][name] = f"{type(error).__name__}: {error}"

    asker = Asker(spec)
    words = " ".join(f"word{i % 97} of" for i in range(LONG_WORDS // 2))
    timed("health_s", lambda: asker.seconds("GET", "/health"), ROUNDS + 4)
    timed("tokenize_s", lambda: asker.seconds("POST", "/tokenize", {"model": spec.model, "prompt": words}))
    answers = [asker.answered(q) for q in QUESTIONS]
    told["answers"] = [a.get("text") for a in answers]
    for name in ("ttft_s", "tpot_s"):
        found = [a[name] for a in answers[1:] if a.get(name) is not None]
        told[name] = median(found) if found else None
    long = [asker.answered(f"{uuid.uuid4().hex} {words}", max_tokens=1) for _ in range(ROUNDS)]
    waits = [a["ttft_s"] for a in long if a.get("ttft_s") is not None]
    told["long_ttft_s"] = median(waits) if waits else None
    failed = [a["error"] for a in (*answers, *long) if "error" in a]
    if failed:
        told["problems"]["answers"] = failed[0]
    told["failed_fraction"] = len(failed) / (len(answers) + len(long))
    asker.close()
    return told


def described(spec: LoadSpec) -> dict[str, Any]:
    """What the server says of itself: its models, its version, and its cache and batch limits."""
    asker = Asker(spec)
    told: dict[str, Any] = {}
    for name, path in (("models", "/v1/models"), ("version", "/version")):
        try:
            told[name] = orjson.loads(asker.body("GET", path))
        except (OSError, ValueError, http.client.HTTPException):
            told[name] = None
    if isinstance(told["models"], Mapping):
        told["models"] = [
            {k: m.get(k) for k in ("id", "root", "max_model_len")} for m in told["models"].get("data", [])
        ]
    try:
        told["limits"] = _limits(asker.body("GET", "/metrics").decode("utf-8", errors="replace"))
    except (OSError, ValueError, http.client.HTTPException):
        told["limits"] = {}
    asker.close()
    return told


def _limits(page: str) -> dict[str, str]:
    """Labels of ``cache_config_info`` that size the cache and the batch."""
    for line in page.splitlines():
        if "cache_config_info{" in line and not line.startswith("#"):
            labels = line[line.index("{") + 1 : line.rindex("}")]
            pairs = (part.partition("=") for part in labels.split(","))
            found = {key.strip(): value.strip('" ') for key, _, value in pairs}
            return {k: found[k] for k in ("num_gpu_blocks", "block_size", "max_num_seqs", "cache_dtype") if k in found}
    return {}


class Asker:
    """Asks one after the other over one connection, opened again when it was lost."""

    def __init__(self, spec: LoadSpec) -> None:
        parts = urlsplit(spec.base_url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._spec, self._path = spec, parts.path
        self._connection = kind(parts.hostname or "", parts.port, timeout=min(TIMEOUT_S, spec.timeout_s))
        self._headers = {"Content-Type": "application/json", **api_headers(spec)}

    def body(self, method: str, path: str, asked: Mapping[str, Any] | None = None) -> bytes:
        """The whole answer; raises ``ValueError`` for any status but 200."""
        data = orjson.dumps(asked) if asked is not None else None
        try:
            self._connection.request(method, self._path + path, data, self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        return body

    def seconds(self, method: str, path: str, asked: Mapping[str, Any] | None = None) -> float:
        """How long a whole answer takes."""
        started = time.perf_counter()
        self.body(method, path, asked)
        return time.perf_counter() - started

    def answered(self, question: str, *, max_tokens: int = ANSWER_TOKENS) -> dict[str, Any]:
        """Text and times of a streamed answer, or the error."""
        chat = self._spec.endpoint == "chat"
        prompt: Mapping[str, Any] = (
            {"messages": [{"role": "user", "content": question}]} if chat else {"prompt": question}
        )
        asked = {"model": self._spec.model, **prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True}
        path = self._path + ("/v1/chat/completions" if chat else "/v1/completions")
        try:
            started = time.perf_counter()
            self._connection.request("POST", path, orjson.dumps(asked), self._headers)
            response = self._connection.getresponse()
            if response.status != 200:
                response.read()
                return {"error": f"status {response.status}"}
            return _read_stream(response, started)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._connection.close()
            return {"error": f"{type(error).__name__}: {error}"}

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def _read_stream(response: http.client.HTTPResponse, started: float) -> dict[str, Any]:
    at: list[float] = []
    text = ""
    while line := response.readline():
        if not line.startswith(b"data: {"):
            continue
        message = orjson.loads(line[6:])
        for choice in message.get("choices") or ():
            new = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            if new:
                at.append(time.perf_counter())
                text += new
    if not at:
        return {"error": "no token came"}
    tpot = (at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else None
    return {"text": text, "ttft_s": at[0] - started, "tpot_s": tpot}
