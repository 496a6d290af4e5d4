"""What the gateway tells on its ``/metrics``."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from workbench.gateway.abuse import AbuseWatch
from workbench.gateway.admission import ConcurrencyLimit
from workbench.gateway.upstreams import Upstreams

BUCKETS = tuple(round(0.001 * 2**i, 4) for i in range(18))


class Watched(Protocol):
    """What is read when the page is asked for."""

    abuse: AbuseWatch
    limit: ConcurrencyLimit
    upstreams: Upstreams

    @property
    def n_waiting(self) -> int:
        """Requests in the queue."""

    @property
    def n_rungs(self) -> int:
        """Rungs of degradation that hold now."""


class GatewayCounters:
    """Requests by tenant and outcome, waits, and what is under way."""

    def __init__(self, gateway: Watched) -> None:
        self._gateway = gateway
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "gateway_requests",
            "Requests by tenant, status and reason.",
            ["tenant", "status", "code"],
            registry=self.registry,
        )
        self._took = Histogram("gateway_request_seconds", "Whole requests.", buckets=BUCKETS, registry=self.registry)
        self._ttft = Histogram(
            "gateway_first_chunk_seconds", "Until a server began.", buckets=BUCKETS, registry=self.registry
        )
        self._tokens = Counter(
            "gateway_tokens", "Tokens by tenant and kind.", ["tenant", "kind"], registry=self.registry
        )
        self.registry.register(self)

    def ended(self, row: Mapping[str, Any]) -> None:
        """A request is over."""
        tenant = row["tenant"] or "none"
        self._requests.labels(tenant, str(row["status"]), row.get("code") or "").inc()
        self._took.observe(row["took_s"])
        if "ttft_s" in row:
            self._ttft.observe(row["ttft_s"])
        if "answer_tokens" in row:
            self._tokens.labels(tenant, "prompt").inc(row["prompt_tokens"])
            self._tokens.labels(tenant, "answer").inc(row["answer_tokens"])

    def collect(self) -> Iterator[Any]:
        """Gauges of now."""
        g = self._gateway
        yield GaugeMetricFamily("gateway_under_way", "Requests under way.", value=g.limit.n_under_way)
        yield GaugeMetricFamily("gateway_limit", "Requests that may be under way.", value=g.limit.limit)
        yield GaugeMetricFamily("gateway_waiting", "Requests that wait.", value=g.n_waiting)
        yield GaugeMetricFamily("gateway_degradation", "Rungs of degradation that hold.", value=g.n_rungs)
        diversity = GaugeMetricFamily("gateway_key_diversity", "Different questions of all, by key.", labels=["key"])
        suspicious = GaugeMetricFamily(
            "gateway_key_suspicious", "1 where a key asks much, and never the same twice.", labels=["key"]
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
        """As Prometheus reads it."""
        return generate_latest(self.registry)
