"""The ``/metrics`` page of the workbench's servers: vLLM's names with a prefix of its own, so that one reader knows both."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

PREFIX = "workbench:"
LATENCY_BUCKETS = tuple(round(0.001 * 1.5**i, 6) for i in range(30))
TOKEN_BUCKETS = tuple(float(2**i) for i in range(18))
ENGINE_COUNTERS = {
    "num_preemptions": "Requests that gave their cache up for others.",
    "prefix_cache_queries": "Tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Tokens found in the prefix cache.",
}
CONFIG = ("num_gpu_blocks", "block_size", "max_num_seqs")


class ServerMetrics:
    """Counters of one server; the engine's own ``counters`` are read when the page is."""

    def __init__(self, counters: Callable[[], Mapping[str, float]]) -> None:
        self.registry = CollectorRegistry()
        self._counters = counters

        def histogram(name: str, text: str, buckets: tuple[float, ...] = LATENCY_BUCKETS) -> Histogram:
            return Histogram(PREFIX + name, text, buckets=buckets, registry=self.registry)

        def counter(name: str, text: str) -> Counter:
            return Counter(PREFIX + name, text, registry=self.registry)

        self.ttft = histogram("time_to_first_token_seconds", "From the request to its first token.")
        self.gap = histogram("inter_token_latency_seconds", "Between tokens of one request.")
        self.e2e = histogram("e2e_request_latency_seconds", "From the request to its last token.")
        self.queue = histogram("request_queue_time_seconds", "From the engine's queue to the engine's work.")
        self.prefill = histogram("request_prefill_time_seconds", "From the engine's work to the first token.")
        self.decode = histogram("request_decode_time_seconds", "From the first token to the last.")
        self.prompt_lengths = histogram("request_prompt_tokens", "Prompt tokens of ended requests.", TOKEN_BUCKETS)
        self.answer_lengths = histogram("request_generation_tokens", "Tokens of ended answers.", TOKEN_BUCKETS)
        self.prompt = counter("prompt_tokens", "Prompt tokens.")
        self.generated = counter("generation_tokens", "Generated tokens.")
        self.succeeded = counter("request_success", "Requests that were answered to their end.")
        self.failed = counter("request_failure", "Requests that failed.")
        name, text = PREFIX + "num_requests_under_way", "Requests that the server has not ended."
        self.under_way = Gauge(name, text, registry=self.registry)
        self.registry.register(self)

    def page(self) -> bytes:
        """Return the page as Prometheus reads it."""
        return generate_latest(self.registry)

    def began(self, waited_s: float, *, queued_s: float | None, prefill_s: float | None) -> None:
        """A first token: so long after its request, of which so long in the engine's queue and in its work."""
        self.ttft.observe(waited_s)
        if queued_s is not None and prefill_s is not None:
            self.queue.observe(queued_s)
            self.prefill.observe(max(0.0, prefill_s))

    def ended(self, *, e2e_s: float, decode_s: float, n_input: int, n_output: int) -> None:
        """Observe an answer that is complete."""
        self.e2e.observe(e2e_s)
        self.decode.observe(decode_s)
        self.prompt_lengths.observe(n_input)
        self.answer_lengths.observe(n_output)
        self.succeeded.inc()

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families of the engine's counters when the page is read."""
        counters = self._counters()
        if not counters:
            return
        for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
            yield GaugeMetricFamily(PREFIX + name, name.replace("_", " "), value=counters[name])
        for name, text in ENGINE_COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, text, value=counters[f"{name}_total"])
        config = {name: f"{counters[name]:.0f}" for name in CONFIG}
        yield InfoMetricFamily(PREFIX + "cache_config", "Cache and batch limits of the engine.", value=config)
