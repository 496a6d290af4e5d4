"""Evaluations of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.quantization import with_accuracy


def migrated(run: JsonObject) -> JsonObject:
    """Return an evaluation whose rows hold one field for each task, and one for accuracy."""
    return {**run, "results": [_result(row) for row in run["results"]]}


def _result(row: JsonObject) -> JsonObject:
    row = with_accuracy(row)
    for task in ("passkey", "completion"):
        names = [f"{task}_{name}" for name in ("n", "right_fraction", "lost", "won", "mcnemar_p")]
        names.append(f"{task}_minimum_detectable_fraction")
        score = {name.removeprefix(f"{task}_"): row.pop(name) for name in names if name in row}
        row[task] = score or None
    return row
