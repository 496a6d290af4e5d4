"""Surges of format 1."""

from workbench.core.json_values import JsonObject

RENAMED = {
    "way": "controls",
    "ways": "controls",
    "gave_up_fraction": "timed_out_fraction",
    "least_of_fair": "least_fair_share_fraction",
    "of_fair": "fair_share_fraction",
    "jain": "jain_index",
    "gateway and clients": "gateway_and_clients",
}


def migrated(run: JsonObject) -> JsonObject:
    """Return a surge with today's names; that its rows were measured is said of the run, and no longer of each."""
    samples = run["samples"]
    return {
        **run,
        "spec": _renamed(run["spec"]),
        "results": [
            _renamed(row) | {"tenants": {name: _renamed(tenant) for name, tenant in row["tenants"].items()}}
            for row in run["results"]
        ],
        "samples": {**samples, "cores": _renamed(samples["cores"])},
    }


def _renamed(values: JsonObject) -> JsonObject:
    return {RENAMED.get(name, name): value for name, value in values.items() if name != "provenance"}
