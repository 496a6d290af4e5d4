"""An engine's own counters: its Prometheus page, read once a second."""

import http.client
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from workbench.core.errors import InvalidSpec
from workbench.core.samples import Kind, Signal
from workbench.telemetry.sampler import SourceLost

MOST_BYTES = 16_000_000  # a page that is longer is none
SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+(\S+)(?:\s+\S+)?$")
# Name in the page without its engine's prefix, unit, label, kind. vLLM's and our engines' names.
FAMILIES: tuple[tuple[str, str, str, Kind], ...] = (
    ("num_requests_running", "", "requests running", "gauge"),
    ("num_requests_waiting", "", "requests waiting", "gauge"),
    ("kv_cache_usage_perc", "", "share of the KV cache in use", "gauge"),
    ("num_preemptions_total", "", "preemptions", "counter"),
    ("prefix_cache_queries_total", "tokens", "tokens looked up in the prefix cache", "counter"),
    ("prefix_cache_hits_total", "tokens", "tokens found in the prefix cache", "counter"),
    ("prompt_tokens_total", "tokens", "prompt tokens read", "counter"),
    ("generation_tokens_total", "tokens", "tokens made", "counter"),
    ("request_success_total", "", "requests ended", "counter"),
    ("request_failure_total", "", "requests that the server failed", "counter"),
    ("admission_rejections_total", "", "requests refused", "counter"),
    ("time_to_first_token_seconds_sum", "s", "times to first tokens, added up", "counter"),
    ("time_to_first_token_seconds_count", "", "first tokens", "counter"),
    ("inter_token_latency_seconds_sum", "s", "times between tokens, added up", "counter"),
    ("inter_token_latency_seconds_count", "", "times between tokens", "counter"),
    ("e2e_request_latency_seconds_sum", "s", "times of whole requests, added up", "counter"),
    ("e2e_request_latency_seconds_count", "", "whole requests", "counter"),
    ("request_queue_time_seconds_sum", "s", "waits in the queue, added up", "counter"),
    ("request_queue_time_seconds_count", "", "waits in the queue", "counter"),
    ("request_prefill_time_seconds_sum", "s", "readings of prompts, added up", "counter"),
    ("request_prefill_time_seconds_count", "", "readings of prompts", "counter"),
    ("request_decode_time_seconds_sum", "s", "decoding of requests, added up", "counter"),
    ("request_decode_time_seconds_count", "", "decodings of requests", "counter"),
    ("request_prompt_tokens_sum", "tokens", "prompt tokens of ended requests", "counter"),
    ("request_prompt_tokens_count", "", "ended requests with a prompt", "counter"),
    ("request_generation_tokens_sum", "tokens", "answer tokens of ended requests", "counter"),
    ("request_prefill_kv_computed_tokens_sum", "tokens", "prompt tokens that were computed", "counter"),
    ("iteration_tokens_total_sum", "tokens", "tokens of steps, added up", "counter"),
    ("iteration_tokens_total_count", "", "steps", "counter"),
)
PREFIXES = ("vllm:", "workbench:")
WANTED = {prefix + family: "engine." + family for family, *_ in FAMILIES for prefix in PREFIXES}


class MetricsSource:
    """The counters of one server; values are added up over labels (engines, models, reasons).

    Args:
        url: Base URL, or that of the page.
        timeout_s: For an answer; a server that takes longer counts as lost until it answers again.
    """

    def __init__(self, url: str, *, period_s: float = 1.0, timeout_s: float = 2.0, name: str = "engine") -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidSpec(f"{url!r} is not a URL.", remedy="Give one like http://localhost:8000.")
        self.name, self.period_s, self._timeout_s, self.url = name, period_s, timeout_s, url
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        path = parts.path.rstrip("/").removesuffix("/v1")
        self._path = path if path.endswith("/metrics") else path + "/metrics"
        self._missing: dict[str, str] = {}

    def open(self) -> Mapping[str, Signal]:
        """Signals of what the page has; raises ``SourceLost`` when it has none of the known names."""
        found = self.read()
        if not found:
            raise SourceLost(f"{self.url} has none of the known metrics")
        self._missing = {
            f"engine.{family}": f"{self.url} does not have it"
            for family, *_ in FAMILIES
            if f"engine.{family}" not in found
        }
        return {
            f"engine.{family}": Signal(name=f"engine.{family}", unit=unit, label=label, kind=kind)
            for family, unit, label, kind in FAMILIES
        }

    def missing(self) -> Mapping[str, str]:
        """Names that the page lacks."""
        return self._missing

    def read(self) -> Mapping[str, float]:
        """Sums of now; raises ``SourceLost`` for anything that is no page of metrics."""
        try:
            self._connection.request("GET", self._path)
            response = self._connection.getresponse()
            body = response.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise SourceLost(f"{self.url} does not answer: {type(error).__name__} {error}") from error
        if response.status != 200 or len(body) > MOST_BYTES:
            self._connection.close()
            what = f"status {response.status}" if response.status != 200 else f"more than {MOST_BYTES} bytes"
            raise SourceLost(f"{self.url} answers with {what}")
        return sums(body.decode("utf-8", errors="replace").splitlines())

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def sums(lines: Sequence[str]) -> dict[str, float]:
    """Values of the known names, added up over labels; lines that are none are left out."""
    told: dict[str, float] = {}
    for line in lines:
        if not line.startswith(PREFIXES):
            continue
        end = line.find("{")
        name = WANTED.get(line[:end] if end >= 0 else line.split(" ", 1)[0])
        if name is None:
            continue
        match = SAMPLE.match(line)
        if match is None:
            continue
        try:
            value = float(match.group(2))
        except ValueError:
            continue
        if value == value:
            told[name] = told.get(name, 0.0) + value
    return told
