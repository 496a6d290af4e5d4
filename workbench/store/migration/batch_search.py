"""Searches of format 1."""

from workbench.core.json_values import JsonObject


def migrated(run: JsonObject) -> JsonObject:
    """Return a search whose best batch is a row, and whose trials hold their times together."""
    samples = run["samples"]
    choice = {
        "part": "choice",
        "best_batch": samples["best_batch"],
        "sequences_per_s": samples["per_s"],
        "memory_limit_bytes": samples["memory_limit_bytes"],
        "left_bytes": samples["left_bytes"],
    }
    trials = [{**row, "part": "trial", "times": row if "p50_s" in row else None} for row in run["results"]]
    return {**run, "results": [*trials, choice], "samples": {"seconds": samples["seconds"]}}
