"""An engine's counters, read from its Prometheus page once a second."""

import http.client
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop
from workbench.telemetry.sampler import SourceLost
from workbench.telemetry.samples import Kind, Signal

MOST_BYTES = 16_000_000  # a page that is longer is none
SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+(\S+)(?:\s+\S+)?$")
# Name on the page without its engine's prefix, unit, label, kind; the names of vLLM and of the workbench's engines.
FAMILIES: tuple[tuple[str, str, str, Kind], ...] = (
    ("num_requests_running", "", gettext_noop("requests running"), "gauge"),
    ("num_requests_waiting", "", gettext_noop("requests waiting"), "gauge"),
    ("kv_cache_usage_perc", "", gettext_noop("share of the KV cache in use"), "gauge"),
    ("num_preemptions_total", "", gettext_noop("preemptions"), "counter"),
    ("prefix_cache_queries_total", "tokens", gettext_noop("tokens looked up in the prefix cache"), "counter"),
    ("prefix_cache_hits_total", "tokens", gettext_noop("tokens hit in the prefix cache"), "counter"),
    ("prompt_tokens_total", "tokens", gettext_noop("prompt tokens"), "counter"),
    ("generation_tokens_total", "tokens", gettext_noop("output tokens"), "counter"),
    ("request_success_total", "", gettext_noop("requests completed"), "counter"),
    ("request_failure_total", "", gettext_noop("requests failed by the server"), "counter"),
    ("admission_rejections_total", "", gettext_noop("requests rejected"), "counter"),
    ("time_to_first_token_seconds_sum", "s", gettext_noop("TTFT, summed"), "counter"),
    ("time_to_first_token_seconds_count", "", gettext_noop("TTFT, count"), "counter"),
    ("inter_token_latency_seconds_sum", "s", gettext_noop("ITL, summed"), "counter"),
    ("inter_token_latency_seconds_count", "", gettext_noop("ITL, count"), "counter"),
    ("e2e_request_latency_seconds_sum", "s", gettext_noop("end-to-end latency, summed"), "counter"),
    ("e2e_request_latency_seconds_count", "", gettext_noop("end-to-end latency, count"), "counter"),
    ("request_queue_time_seconds_sum", "s", gettext_noop("queue time, summed"), "counter"),
    ("request_queue_time_seconds_count", "", gettext_noop("queue time, count"), "counter"),
    ("request_prefill_time_seconds_sum", "s", gettext_noop("prefill time, summed"), "counter"),
    ("request_prefill_time_seconds_count", "", gettext_noop("prefill time, count"), "counter"),
    ("request_decode_time_seconds_sum", "s", gettext_noop("decode time, summed"), "counter"),
    ("request_decode_time_seconds_count", "", gettext_noop("decode time, count"), "counter"),
    ("request_prompt_tokens_sum", "tokens", gettext_noop("prompt tokens of completed requests"), "counter"),
    ("request_prompt_tokens_count", "", gettext_noop("completed requests with a prompt"), "counter"),
    ("request_generation_tokens_sum", "tokens", gettext_noop("output tokens of completed requests"), "counter"),
    ("request_prefill_kv_computed_tokens_sum", "tokens", gettext_noop("prompt tokens computed in prefill"), "counter"),
    ("iteration_tokens_total_sum", "tokens", gettext_noop("tokens of steps, summed"), "counter"),
    ("iteration_tokens_total_count", "", gettext_noop("steps"), "counter"),
)
PREFIXES = ("vllm:", "workbench:")
WANTED = {prefix + family: "engine." + family for family, *_ in FAMILIES for prefix in PREFIXES}


class MetricsSource:
    """The counters of one server, at its base URL or at the page's, added up over labels (engines, models, reasons).

    A server that takes longer than ``timeout_s`` counts as lost until it answers again.
    """

    def __init__(self, url: str, *, period_s: float = 1.0, timeout_s: float = 2.0, name: str = "engine") -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidSpec(
                gettext("{url} is not a URL.").format(url=repr(url)),
                remedy=gettext("Give one like http://localhost:8000."),
            )
        self.name, self.period_s, self._timeout_s, self.url = name, period_s, timeout_s, url
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        path = parts.path.rstrip("/").removesuffix("/v1")
        self._path = path if path.endswith("/metrics") else path + "/metrics"
        self._missing: dict[str, str] = {}

    def open(self) -> Mapping[str, Signal]:
        """Signals of what the page has; raises ``SourceLost`` when it has none of the known names."""
        totals = self.read()
        if not totals:
            raise SourceLost(f"{self.url} has none of the known metrics")
        signals = [
            Signal(name=f"engine.{name}", unit=unit, label=label, kind=kind) for name, unit, label, kind in FAMILIES
        ]
        self._missing = {s.name: f"{self.url} does not have it" for s in signals if s.name not in totals}
        return {s.name: s for s in signals}

    def missing(self) -> Mapping[str, str]:
        """Return the signals that the page lacks, with the reason."""
        return self._missing

    def read(self) -> Mapping[str, float]:
        """Return the present sums; raises ``SourceLost`` for anything that is no page of metrics."""
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
        """Close the connection to the server."""
        self._connection.close()


def sums(lines: Sequence[str]) -> dict[str, float]:
    """Return the values of the known names, summed over labels; lines that are no samples are left out."""
    totals: dict[str, float] = {}
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
            totals[name] = totals.get(name, 0.0) + value
    return totals
