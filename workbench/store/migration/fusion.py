"""Runs of fusions of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.batch_times import by_batch


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose thresholds and times are nested, in the field's words for what is corrupted."""
    return {**run, "results": [MIGRATIONS[row["part"]](row) for row in run["results"]]}


def _english(text: str) -> str:
    return text.replace("worn pictures", "corrupted images").replace("picture", "image")


def _accuracy(row: JsonObject) -> JsonObject:
    return {"fraction": row["accuracy"], "interval": row["accuracy_interval"], "n": row["n"]}


def _missing(row: JsonObject) -> JsonObject:
    return {**row, "missing_fraction": row["missing"], "accuracy": _accuracy(row)}


def _corrupted(row: JsonObject) -> JsonObject:
    return {**row, "part": "corrupted", "inputs": _english(row["what"]), "accuracy": _accuracy(row)}


def _drop(row: JsonObject) -> JsonObject:
    lost = {f"lost_{d}_dropout_fraction": row[f"drop_{d}"] for d in ("with", "without")}
    return {**row, **lost}


def _routing(row: JsonObject) -> JsonObject:
    held_out = {
        "lost_fraction": row["held_out_lost_fraction"],
        "exit_fraction": row["held_out_skipped_fraction"],
        "n": row["n_held_out"],
    }
    fractions = {"accuracy_routed_fraction": row["accuracy"], "accuracy_always_fraction": row["accuracy_always"]}
    return {**row, **fractions, "threshold": row, "held_out": held_out, "times": by_batch(row["times"])}


def _towers(row: JsonObject) -> JsonObject:
    return {**row, "towers": _english(row["what"]), "times": by_batch(row["times"])}


def _precision(row: JsonObject) -> JsonObject:
    return {**_towers(row), "accuracy": _accuracy(row)}


MIGRATIONS = {
    "missing": _missing,
    "worn": _corrupted,
    "drop": _drop,
    "routing": _routing,
    "precision": _precision,
    "parallel": _towers,
}
