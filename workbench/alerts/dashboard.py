"""A Grafana dashboard from the same rules: each condition drawn with its threshold."""

from collections.abc import Sequence

from workbench.alerts.rules import Rule
from workbench.core.rows import Json

WIDTH, HEIGHT = 12, 8  # of 24 columns


def dashboard(rules: Sequence[Rule], *, title: str = "Inference Workbench") -> dict[str, Json]:
    """Return the JSON that Grafana imports (schema 39); Grafana asks for the data source on import."""
    panels: list[Json] = [
        {
            "id": i + 1,
            "type": "timeseries",
            "title": rule.name,
            "description": rule.summary,
            "gridPos": {"x": WIDTH * (i % 2), "y": HEIGHT * (i // 2), "w": WIDTH, "h": HEIGHT},
            "datasource": {"type": "prometheus", "uid": "${source}"},
            "targets": [{"refId": "A", "expr": rule.expression.promql(), "legendFormat": "__auto"}],
            "fieldConfig": {
                "defaults": {
                    "custom": {"thresholdsStyle": {"mode": "line"}},
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [{"color": "green", "value": None}, {"color": "red", "value": rule.threshold}],
                    },
                },
                "overrides": [],
            },
        }
        for i, rule in enumerate(rules)
    ]
    source: Json = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "title": title,
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "15s",
        "templating": {"list": [source]},
        "panels": panels,
    }
