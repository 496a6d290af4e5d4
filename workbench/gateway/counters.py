"""Metrics of the gateway for Prometheus."""

from collections.abc import Iterator
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from workbench.gateway.abuse import AbuseWatch
from workbench.gateway.accounts import Accounts
from workbench.gateway.audit import LogEntry
from workbench.gateway.slots import Slots
from workbench.gateway.upstreams import Upstreams

BUCKETS = tuple(round(0.001 * 2**i, 4) for i in range(18))


class Watched(Protocol):
    """Parts of the gateway that are read when ``/metrics`` is scraped."""

    abuse: AbuseWatch
    accounts: Accounts
    is_reloaded: bool

    @property
    def slots(self) -> Slots:
        """Concurrency limit with its queue."""

    @property
    def upstreams(self) -> Upstreams:
        """Servers that requests are forwarded to."""

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
            "gateway_first_chunk_seconds", "Time until the first content of a stream, in seconds.", buckets=BUCKETS
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
        yield GaugeMetricFamily("gateway_under_way", "Requests that run now.", value=g.slots.limit.n_under_way)
        yield GaugeMetricFamily("gateway_limit", "Concurrency limit.", value=g.slots.limit.limit)
        yield GaugeMetricFamily("gateway_waiting", "Requests that wait in the queue.", value=g.slots.n_waiting)
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
        health = GaugeMetricFamily(
            "gateway_replica_healthy", "1 for a replica that passes its health checks.", labels=["replica"]
        )
        for replica, is_healthy in g.upstreams.health().items():
            health.add_metric([replica], float(is_healthy))
        yield health
        yield GaugeMetricFamily(
            "gateway_config_reload_successful", "0 after a configuration was refused, else 1.", value=g.is_reloaded
        )
        if (link := g.accounts.link) is not None:
            yield GaugeMetricFamily(
                "gateway_limits_shared",
                "1 while limits are shared in Redis, 0 while they are local.",
                value=link.is_shared,
            )
            yield GaugeMetricFamily(
                "gateway_limits_divisor",
                "Gateways seen last, by which local limits are divided while Redis does not answer.",
                value=link.n_gateways,
            )

    def page(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
