"""Calibrations of format 1."""

from workbench.core.json_values import JsonObject
from workbench.store.migration.gemm import interval, product
from workbench.store.migration.serving_speed import cell


def migrated(run: JsonObject) -> JsonObject:
    """Return a calibration whose rows are those of its parts' own runs."""
    wall_s = {name.removesuffix("_wall_s"): seconds for name, seconds in run["samples"].items()}
    rows = [_row(row) for row in run["results"] if row.get("status") != "failed"]
    return {**run, "results": rows, "samples": {"wall_s": wall_s}}


def _row(row: JsonObject) -> JsonObject:
    match row["part"]:
        case "gemm":
            return product(row)
        case "serving_speed":
            return cell(row)
    return {**row, "p50_s": interval(row, "p50_s")}
