"""Runs of fusions of format 1."""

from typing import Any

from workbench.store.migration.batch_times import by_batch


def migrated(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run whose thresholds and times are nested, in the field's words for what is corrupted."""
    return {**run, "results": [MIGRATIONS[row["part"]](row) for row in run["results"]]}


def _english(text: str) -> str:
    return text.replace("worn pictures", "corrupted images").replace("picture", "image")


def _accuracy(row: dict[str, Any]) -> dict[str, Any]:
    return {"fraction": row["accuracy"], "interval": row["accuracy_interval"], "n": row["n"]}


def _missing(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "missing_fraction": row["missing"], "accuracy": _accuracy(row)}


def _corrupted(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "part": "corrupted", "inputs": _english(row["what"]), "accuracy": _accuracy(row)}


def _drop(row: dict[str, Any]) -> dict[str, Any]:
    lost = {f"lost_{d}_dropout_fraction": row[f"drop_{d}"] for d in ("with", "without")}
    return {**row, **lost}


def _routing(row: dict[str, Any]) -> dict[str, Any]:
    held_out = {
        "lost_fraction": row["held_out_lost_fraction"],
        "exit_fraction": row["held_out_skipped_fraction"],
        "n": row["n_held_out"],
    }
    fractions = {"accuracy_routed_fraction": row["accuracy"], "accuracy_always_fraction": row["accuracy_always"]}
    return {**row, **fractions, "threshold": row, "held_out": held_out, "times": by_batch(row["times"])}


def _towers(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "towers": _english(row["what"]), "times": by_batch(row["times"])}


def _precision(row: dict[str, Any]) -> dict[str, Any]:
    return {**_towers(row), "accuracy": _accuracy(row)}


MIGRATIONS = {
    "missing": _missing,
    "worn": _corrupted,
    "drop": _drop,
    "routing": _routing,
    "precision": _precision,
    "parallel": _towers,
}
