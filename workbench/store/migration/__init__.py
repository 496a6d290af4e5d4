"""Runs of older formats, brought to the present one: what a kind needs lies in the module of its name."""

from importlib import import_module
from importlib.util import find_spec

from workbench.core.json_values import JsonObject
from workbench.core.runs import SCHEMA_VERSION


def migrated(run: JsonObject) -> JsonObject:
    """Return a run of any older format in the present one.

    From 1 to 2: rows have the fields of their dataclasses, samples one dataclass for each kind of run, and what failed
    is the ``subject`` of a failure.
    """
    if run.get("schema_version", SCHEMA_VERSION) >= SCHEMA_VERSION:
        return run
    failures = [{"subject" if k == "method" else k: v for k, v in failure.items()} for failure in run["failures"]]
    run = {**run, "failures": failures, "schema_version": SCHEMA_VERSION}
    module = f"{__name__}.{run['kind']}"
    return import_module(module).migrated(run) if find_spec(module) else run
