"""Runs of ring attention of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.intervals import nested_intervals


def migrated(run: JsonObject) -> JsonObject:
    """Return a run of ring attention whose numbers of devices are called so; what was not measured is a failure."""
    rows = run["results"]
    failures = [
        {"subject": f"{r['length_tokens']} tokens on {r['world']}", "cause": r["reason"], "remedy": "Measure again."}
        for r in rows
        if r["status"] != "measured"
    ]
    rounds = [
        {"length_tokens": int(length), "n_devices": int(world), "seconds": seconds}
        for name, seconds in run["samples"]["seconds"].items()
        for length, world in [name.split("-")]
    ]
    results = [
        nested_intervals({("n_devices" if k == "world" else k): v for k, v in row.items()})
        for row in rows
        if row["status"] == "measured"
    ]
    return {**run, "results": results, "failures": [*run["failures"], *failures], "samples": {"rounds": rounds}}
