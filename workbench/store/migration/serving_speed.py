"""Runs of vLLM's steps of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.gemm import interval


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose medians are intervals; a precision that failed is a failure, and no row."""
    cells = {
        served: [{**_size(name), "step_s": times} for name, times in by_cell.items()]
        for served, by_cell in run["samples"].get("step_s", {}).items()
    }
    rows = [cell(row) for row in run["results"] if row["status"] != "failed"]
    return {**run, "results": rows, "samples": {"cells": cells}}


def cell(row: JsonObject) -> JsonObject:
    """Return the row of a cell with its ``part``."""
    if row["status"] != "measured":
        return {**row, "part": "does_not_fit"}
    return {**row, "part": "serving_speed", "tpot_p50_s": interval(row, "tpot_p50_s")}


def _size(name: str) -> dict[str, int]:
    batch, _, context = name.partition("x")
    return {"batch": int(batch), "context_tokens": int(context)}
