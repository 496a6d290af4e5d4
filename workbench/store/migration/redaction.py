"""Redactions of format 1."""

from workbench.core.json_values import JsonObject

NAMES = {"ours": "workbench"}
"""Detectors that had another name."""


def migrated(run: JsonObject) -> JsonObject:
    """Return a redaction whose intervals are whole, whose times are in seconds, and whose detectors have their present names."""
    spec, samples = run["spec"], run["samples"]
    return {
        **run,
        "spec": {**spec, "detectors": [NAMES.get(name, name) for name in spec["detectors"]]},
        "results": [_score(row) for row in run["results"]],
        "samples": {
            "n_texts": samples["n_texts"],
            "n_streams": samples["n_splits"],
            "n_streams_different": samples["split_differences"],
            "time_per_1000_characters_s": {
                NAMES.get(name, name): us / 1e6 for name, us in samples["us_per_1000_characters"].items()
            },
            "hostile_s": {name: ms / 1e3 for name, ms in samples["hostile_ms"].items()},
            "mistakes": {
                NAMES.get(name, name): [text.replace("took for ", "false ", 1) for text in texts]
                for name, texts in samples["wrong"].items()
            },
        },
    }


def _score(row: JsonObject) -> JsonObject:
    return {
        "detector": NAMES.get(row["detector"], row["detector"]),
        "kind": row["kind"],
        "n_texts": row["n"],
        "recall": _share(row["recall"], row["recall_interval"]),
        "precision": _share(row["precision"], row["precision_interval"]),
        "n_false_positives": row["false"],
    }


def _share(value: float | None, interval: list[float] | None) -> dict[str, float] | None:
    return None if value is None or interval is None else {"value": value, "low": interval[0], "high": interval[1]}
