"""Loads of format 1."""

from typing import Any


def migrated(run: dict[str, Any]) -> dict[str, Any]:
    """Return a load whose empty parts are null, without the words of other tools that each run used to repeat."""
    return {**run, "results": [_result(row) for row in run["results"]]}


def _result(row: dict[str, Any]) -> dict[str, Any]:
    steady = row["steady_state"]
    goodput = steady["goodput"]
    return {
        **{name: value for name, value in row.items() if name != "vocabulary"},
        "rates": row["rates"] or None,
        "goodput": row["goodput"] or None,
        "steady_state": {**steady, "goodput": goodput if "attainment_fraction" in goodput else None},
    }
