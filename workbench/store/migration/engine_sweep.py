"""Sweeps of engines of format 1."""

from workbench.core.json_values import JsonObject


def migrated(run: JsonObject) -> JsonObject:
    """Return a sweep whose samples have a name, and whose failures name their subject."""
    failures = [{"subject" if k == "engine" else k: v for k, v in failure.items()} for failure in run["failures"]]
    return {**run, "samples": {"requests": run["samples"]}, "failures": failures}
