"""Runs of techniques of format 1."""

from typing import Any

PROFILES = {"reading a prompt": "prefill of a prompt"}


def migrated(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run whose rows say by their ``part`` what is known of a technique."""
    profiles = {PROFILES.get(name, name): profile for name, profile in run["samples"]["profiles"].items()}
    return {
        **run,
        "results": [_row(row) for row in run["results"]],
        "samples": {**run["samples"], "profiles": profiles},
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    if row["status"] != "measured":
        return {**row, "part": "not measured"}
    if "without_fraction" in row:
        return {**row, "part": "memory"}
    operators = None
    if "operators_without" in row:
        operators = {"without": row["operators_without"], "with_it": row["operators_with"]}
    interval = [row["gain_low"], row["gain_high"]]
    return {**row, "part": "time", "gain_interval": interval, "operators": operators}
