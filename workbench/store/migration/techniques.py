"""Runs of techniques of format 1."""

from workbench.core.json_values import JsonObject

PROFILES = {"reading a prompt": "prefill of a prompt"}


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose rows say by their ``part`` what is known of a technique."""
    profiles = {PROFILES.get(name, name): profile for name, profile in run["samples"]["profiles"].items()}
    return {
        **run,
        "results": [_row(row) for row in run["results"]],
        "samples": {**run["samples"], "profiles": profiles},
    }


def _row(row: JsonObject) -> JsonObject:
    if row["status"] != "measured":
        return {**row, "part": "not measured"}
    if "without_fraction" in row:
        return {**row, "part": "memory"}
    operators = None
    if "operators_without" in row:
        operators = {"without": row["operators_without"], "with_it": row["operators_with"]}
    interval = [row["gain_low"], row["gain_high"]]
    return {**row, "part": "time", "gain_interval": interval, "operators": operators}
