"""Products of format 1."""

from workbench.core.json_values import JsonObject


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose medians are intervals, and whose timings lie under format and role."""
    seconds: JsonObject = {}
    for name, times in run["samples"].get("seconds", {}).items():
        form, _, role = name.partition(" ")
        seconds.setdefault(form, {})[role] = times
    samples = {"seconds": seconds, "peaks": run["samples"].get("ceilings")}
    return {**run, "results": [product(row) for row in run["results"]], "samples": samples}


def product(row: JsonObject) -> JsonObject:
    """Return the row of a product with its ``part``."""
    return {**row, "part": "gemm", "p50_s": interval(row, "p50_s")}


def interval(row: JsonObject, name: str) -> dict[str, float]:
    """Return a value and the ends of its interval, which stood beside each other."""
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
