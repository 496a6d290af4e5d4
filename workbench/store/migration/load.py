"""Loads of format 1."""

from workbench.core.json_values import JsonObject


def migrated(run: JsonObject) -> JsonObject:
    """Return a load whose empty parts are null, without the words of other tools that each run used to repeat."""
    return {**run, "results": [_result(row) for row in run["results"]]}


def _result(row: JsonObject) -> JsonObject:
    steady = row["steady_state"]
    goodput = steady["goodput"]
    return {
        **{name: value for name, value in row.items() if name != "vocabulary"},
        "rates": row["rates"] or None,
        "goodput": row["goodput"] or None,
        "steady_state": {**steady, "goodput": goodput if "attainment_fraction" in goodput else None},
    }
