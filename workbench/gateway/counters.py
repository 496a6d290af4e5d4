"""Metrics of the gateway for Prometheus."""

from collections.abc import Iterator
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from workbench.gateway.abuse import AbuseWatch
from workbench.gateway.admission import ConcurrencyLimit
from workbench.gateway.audit import LogEntry
from workbench.gateway.upstreams import Upstreams

BUCKETS = tuple(round(0.001 * 2**i, 4) for i in range(18))


class Watched(Protocol):
    """Parts of the gateway that are read when ``/metrics`` is scraped."""

    abuse: AbuseWatch
    limit: ConcurrencyLimit
    upstreams: Upstreams

    @property
    def n_waiting(self) -> int:
        """Requests that wait in the queue."""

    @property
    def n_rungs(self) -> int:
        """Rungs of the degradation ladder that are active now."""


class GatewayCounters:
    """Counters of requests and tokens by tenant, histograms of latencies, and gauges of the present state."""

    def __init__(self, gateway: Watched) -> None:
        self._gateway = gateway
        self.registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        by = ["tenant", "status", "code"]
        self._requests = counter("gateway_requests", "Requests by tenant, status and reason.", by)
        self._took = histogram("gateway_request_seconds", "Duration of whole requests, in seconds.", buckets=BUCKETS)
        self._ttft = histogram(
            "gateway_first_chunk_seconds", "Time until the first chunk of an answer, in seconds.", buckets=BUCKETS
        )
        self._tokens = counter("gateway_tokens", "Tokens by tenant and kind.", ["tenant", "kind"])
        self.registry.register(self)

    def record(self, entry: LogEntry) -> None:
        """Count a request that has ended."""
        tenant = entry.tenant or "none"
        self._requests.labels(tenant, str(entry.status), entry.code or "").inc()
        if entry.took_s is not None:
            self._took.observe(entry.took_s)
        if entry.ttft_s is not None:
            self._ttft.observe(entry.ttft_s)
        if entry.answer_tokens is not None:
            self._tokens.labels(tenant, "prompt").inc(entry.prompt_tokens or 0)
            self._tokens.labels(tenant, "answer").inc(entry.answer_tokens)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of the present state."""
        g = self._gateway
        yield GaugeMetricFamily("gateway_under_way", "Requests that run now.", value=g.limit.n_under_way)
        yield GaugeMetricFamily("gateway_limit", "Concurrency limit.", value=g.limit.limit)
        yield GaugeMetricFamily("gateway_waiting", "Requests that wait in the queue.", value=g.n_waiting)
        yield GaugeMetricFamily(
            "gateway_degradation", "Rungs of the degradation ladder that are active.", value=g.n_rungs
        )
        diversity = GaugeMetricFamily("gateway_key_diversity", "Share of different prompts, by key.", labels=["key"])
        suspicious = GaugeMetricFamily(
            "gateway_key_suspicious", "1 for a key with very many prompts that hardly ever repeat.", labels=["key"]
        )
        for key, signals in g.abuse.all_signals().items():
            diversity.add_metric([key], signals.diversity)
            suspicious.add_metric([key], float(signals.is_suspicious))
        yield diversity
        yield suspicious
        states = GaugeMetricFamily("gateway_breaker", "1 for the state of each breaker.", labels=["replica", "state"])
        for replica, state in g.upstreams.states().items():
            states.add_metric([replica, state], 1.0)
        yield states

    def page(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
