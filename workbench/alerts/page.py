"""The watch's own page of metrics, so that Prometheus and other dashboards can read what it says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from workbench.alerts.rules import Rule
from workbench.core.errors import NotAvailable


class AlertPage:
    """Serves ``/metrics`` until closed: ``ALERTS`` as Prometheus has it, each rule's value, looks, and whether the server answers.

    Raises ``NotAvailable`` when the port is taken.
    """

    def __init__(self, rules: Sequence[Rule], port: int) -> None:
        self._rules = {r.name: r for r in rules}
        self._firing: Sequence[str] = ()
        self._pending: Sequence[str] = ()
        self._values: Mapping[str, float] = {}
        self._counts: Mapping[str, int] = {}
        self._n_looks, self._is_up = 0, False
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(port, addr="127.0.0.1", registry=registry)
        except OSError as error:
            raise NotAvailable(f"Port {port} cannot be served: {error}.", remedy="Choose another one.") from error
        self.port: int = self._server.server_port

    def show(
        self,
        *,
        firing: Sequence[str],
        pending: Sequence[str],
        values: Mapping[str, float],
        is_up: bool,
        gold: Mapping[str, int] | None = None,
    ) -> None:
        """What the page says from now on."""
        self._firing, self._pending, self._values, self._is_up = firing, pending, values, is_up
        self._counts = gold or {}
        self._n_looks += 1

    def collect(self) -> Iterator[Any]:
        """Families of now, for the registry."""
        alerts = GaugeMetricFamily("ALERTS", "Alerts of the watch.", labels=["alertname", "alertstate", "severity"])
        for state, names in (("firing", self._firing), ("pending", self._pending)):
            for name in names:
                alerts.add_metric([name, state, self._rules[name].severity], 1.0)
        yield alerts
        values = GaugeMetricFamily("workbench_rule_value", "What each rule compares.", labels=["alertname"])
        for name, value in self._values.items():
            values.add_metric([name], value)
        yield values
        yield GaugeMetricFamily(
            "workbench_server_up", "Whether the server's page can be read.", value=float(self._is_up)
        )
        yield CounterMetricFamily("workbench_looks", "Looks so far.", value=self._n_looks)
        for name, count in self._counts.items():
            yield CounterMetricFamily(f"workbench_gold_{name}", f"Gold questions {name}.", value=count)

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
