"""Runs of attention of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.intervals import nested_intervals


def migrated(run: JsonObject) -> JsonObject:
    """Return a run of attention whose cells without a time are rows of their own."""
    calls = [
        {"phase": phase, "length_tokens": int(length), "technique": technique, "seconds": seconds}
        for name, seconds in run["samples"]["seconds"].items()
        for phase, length, technique in [name.split(" ")]
    ]
    return {**run, "results": [_result(row) for row in run["results"]], "samples": {"calls": calls}}


def _result(row: JsonObject) -> JsonObject:
    is_missing = row["part"] == "cell" and row["status"] != "measured"
    return {**row, "part": "missing cell"} if is_missing else nested_intervals(row)
