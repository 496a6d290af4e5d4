"""Times by batch of format 1, as runs on small devices and runs of fusions held them."""

from workbench.core.json_values import JsonObject


def speedup(times: JsonObject, beginning: str = "") -> JsonObject:
    """Return the speed-up that lies among the times, under names with this beginning."""
    return {name: times[beginning + name] for name in ("ratio", "ratio_interval", "verdict")}


def batch_times(times: JsonObject) -> JsonObject:
    """Return times with their speed-up in an object of its own; null for a reference."""
    own = {name: value for name, value in times.items() if name in ("p50_s", "p50_interval_s", "p99_s", "n")}
    return {**own, "speedup": speedup(times) if "ratio" in times else None}


def by_batch(times: JsonObject) -> JsonObject:
    """Return times by batch size."""
    return {batch: batch_times(t) for batch, t in times.items()}
