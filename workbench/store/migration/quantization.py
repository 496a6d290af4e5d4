"""Runs of precisions of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.intervals import nested_intervals

ACCURACY = (
    "n_tokens",
    "perplexity",
    "perplexity_change_fraction",
    "mean_kl_nat_per_token",
    "p99_kl_nat_per_token",
    "top1_agreement_fraction",
)


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose rows hold accuracy in one field, without the names that each row used to repeat."""
    return {**run, "results": [with_accuracy(row) for row in run["results"]]}


def with_accuracy(row: JsonObject) -> JsonObject:
    """Return a row whose accuracy is one field; None where it was not measured."""
    row = nested_intervals({k: v for k, v in row.items() if k not in {"label", "runtime", "provenance"}})
    accuracy = {name: row.pop(name, None) for name in ACCURACY}
    return {**row, "accuracy": accuracy if accuracy["n_tokens"] is not None else None}
