"""Values with an interval, which format 1 spread over three fields."""

from workbench.core.json_values import JsonObject


def nested_intervals(row: JsonObject) -> JsonObject:
    """Return a row in which ``x``, ``x_low`` and ``x_high`` are the value, low and high end of one ``x``."""
    names = [name for name in row if f"{name}_low" in row]
    ends = {f"{name}_{end}" for name in names for end in ("low", "high")}
    return {name: _interval(row, name) if name in names else value for name, value in row.items() if name not in ends}


def _interval(row: JsonObject, name: str) -> dict[str, float] | None:
    if row[name] is None:
        return None
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
