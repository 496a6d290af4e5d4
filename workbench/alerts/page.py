"""The watch's own page of metrics, so that Prometheus and dashboards can read its alerts."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from workbench.alerts.rules import Rule
from workbench.core.errors import NotAvailable, system_message
from workbench.core.language import gettext


class AlertPage:
    """Serves ``/metrics`` until closed: ``ALERTS`` as in Prometheus, the value of each rule, evaluations, and whether the server is up.

    Raises ``NotAvailable`` when the port is taken.
    """

    def __init__(self, rules: Sequence[Rule], port: int) -> None:
        self._rules = {r.name: r for r in rules}
        self._firing: Sequence[str] = ()
        self._pending: Sequence[str] = ()
        self._values: Mapping[str, float] = {}
        self._counts: Mapping[str, int] = {}
        self._n_evaluations, self._is_up = 0, False
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(port, addr="127.0.0.1", registry=registry)
        except OSError as error:
            raise NotAvailable(
                gettext("Port {port} cannot be opened: {error}.").format(port=port, error=system_message(error)),
                remedy=gettext("Choose another port."),
            ) from error
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
        """Set what the page shows from now on."""
        self._firing, self._pending, self._values, self._is_up = firing, pending, values, is_up
        self._counts = gold or {}
        self._n_evaluations += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the present metric families, for the registry."""
        alerts = GaugeMetricFamily("ALERTS", "Alerts of the watch.", labels=["alertname", "alertstate", "severity"])
        for state, names in (("firing", self._firing), ("pending", self._pending)):
            for name in names:
                alerts.add_metric([name, state, self._rules[name].severity], 1.0)
        yield alerts
        values = GaugeMetricFamily("workbench_rule_value", "Value of each rule's expression.", labels=["alertname"])
        for name, value in self._values.items():
            values.add_metric([name], value)
        yield values
        yield GaugeMetricFamily(
            "workbench_server_up", "Whether the server's page can be read (1 or 0).", value=float(self._is_up)
        )
        yield CounterMetricFamily(
            "workbench_evaluations", "Evaluations of the rules so far.", value=self._n_evaluations
        )
        for name, count in self._counts.items():
            yield CounterMetricFamily(f"workbench_gold_{name}", f"Questions of the gold set: {name}.", value=count)

    def close(self) -> None:
        """Close the port and end the server's thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
