"""Sensitivity runs of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.intervals import nested_intervals


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose values with an interval are one field each."""
    rows = [{k: v for k, v in row.items() if k != "provenance"} for row in run["results"]]
    return {**run, "results": [nested_intervals(row) for row in rows]}
