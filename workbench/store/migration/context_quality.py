"""Runs of quality of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.intervals import nested_intervals

AGAINST_FULL = ("lost", "won", "mcnemar_p", "answer_nll_change_nat_per_token", "mean_kl_nat_per_token")


def migrated(run: JsonObject) -> JsonObject:
    """Return a run of quality whose comparisons with full attention have their own place."""
    samples = {"recall_fraction": run["samples"]["right"]}
    return {**run, "results": [_result(row) for row in run["results"]], "samples": samples}


def _result(row: JsonObject) -> JsonObject:
    row = nested_intervals(row)
    compared = {name: row[name] for name in AGAINST_FULL if name in row}
    return {k: v for k, v in row.items() if k not in compared} | ({"against_full": compared} if compared else {})
