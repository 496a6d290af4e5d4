"""Runs on a small device of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.batch_times import batch_times, by_batch, speedup


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose accuracy, perplexity, thresholds and times are nested."""
    return {**run, "results": [MIGRATIONS.get(row["part"], dict)(row) for row in run["results"]]}


def _variant(row: JsonObject) -> JsonObject:
    based = {batch: t for batch, t in row["times"].items() if "base" in t}
    accuracy = row["accuracy"] is not None and {
        "fraction": row["accuracy"],
        "interval": row["accuracy_interval"],
        "mcnemar_p": row["mcnemar_p"],
        "is_worse": row["is_worse"],
        "lost_fraction": row["lost_accuracy"],
    }
    perplexity = "perplexity" in row and {
        "value": row["perplexity"],
        "change_fraction": row["perplexity_change_fraction"],
        "change_interval": None if None in (ends := row["perplexity_change_interval"]) else ends,
    }
    base = based and {
        "technique": next(iter(based.values()))["base"],
        "speedups": {batch: speedup(t, "base_") for batch, t in based.items()},
    }
    return {
        **row,
        "accuracy": accuracy or None,
        "perplexity": perplexity or None,
        "corrupted_accuracy_fraction": row.get("corrupted_accuracy"),
        "accuracy_before_tuning_fraction": row.get("accuracy_before_tuning"),
        "times": by_batch(row["times"]),
        "base": base or None,
    }


def _guarantee(row: JsonObject) -> JsonObject:
    held_out = {
        "lost_fraction": row["held_out_lost_fraction"],
        "exit_fraction": row["held_out_exit_fraction"],
        "n": row["n_held_out"],
    }
    return {"part": row["part"], "technique": row["technique"], "threshold": row, "held_out": held_out}


def _distillation(row: JsonObject) -> JsonObject:
    fractions = {"accuracy_alone_fraction": "alone", "accuracy_distilled_fraction": "taught", "gain_fraction": "gain"}
    return {**row, **{name: row[old] for name, old in fractions.items()}}


def _runtime(row: JsonObject) -> JsonObject:
    if row["state"] != "measured":
        return row
    return {**row, "measured": {**row, "times": batch_times(row)}}


def _setting(row: JsonObject) -> JsonObject:
    return {**row, "times": batch_times(row)}


MIGRATIONS = {
    "variant": _variant,
    "guarantee": _guarantee,
    "distillation": _distillation,
    "runtime": _runtime,
    "setting": _setting,
    "choice": _setting,
}
