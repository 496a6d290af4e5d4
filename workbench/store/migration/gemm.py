"""Products of format 1."""

from typing import Any


def migrated(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run whose medians are intervals, and whose timings lie under format and role."""
    seconds: dict[str, Any] = {}
    for name, times in run["samples"].get("seconds", {}).items():
        form, _, role = name.partition(" ")
        seconds.setdefault(form, {})[role] = times
    samples = {"seconds": seconds, "peaks": run["samples"].get("ceilings")}
    return {**run, "results": [product(row) for row in run["results"]], "samples": samples}


def product(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a product with its ``part``."""
    return {**row, "part": "gemm", "p50_s": interval(row, "p50_s")}


def interval(row: dict[str, Any], name: str) -> dict[str, float]:
    """Return a value and the ends of its interval, which stood beside each other."""
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
