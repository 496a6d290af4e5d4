"""Runs of long contexts of format 1."""

from workbench.core.json_values import JsonObject

CACHES = {"roomy": "preallocated"}
"""Names of caches, older and present."""


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose prompts and caches without numbers are rows of their own, and whose prefill is called so."""
    caches = [CACHES.get(name, name) for name in run["spec"]["caches"]]
    return {**run, "spec": {**run["spec"], "caches": caches}, "results": [_result(row) for row in run["results"]]}


def _result(row: JsonObject) -> JsonObject:
    row = {**row, "cache": CACHES.get(row["cache"], row["cache"])} if "cache" in row else row
    part = {"reading": "prefill"}.get(row["part"], row["part"])
    if row["status"] == "measured" or part == "limit":
        return {("prefill_s" if k == "read_s" else k): v for k, v in row.items()} | {"part": part}
    return {**row, "part": "not measured", "what": part, "label": row.get("cache", row.get("label"))}
