"""Sweeps of engines of format 1."""

from typing import Any


def migrated(run: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep whose samples have a name, and whose failures name their subject."""
    failures = [{"subject" if k == "engine" else k: v for k, v in failure.items()} for failure in run["failures"]]
    return {**run, "samples": {"requests": run["samples"]}, "failures": failures}
