"""The verdicts of shipped runs say what scripts count from their files without the code of the findings."""

import importlib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["recount_verdicts", "recount_more_verdicts"])
def test_at_least_thirty_verdicts_say_what_was_counted(monkeypatch, name):
    monkeypatch.syspath_prepend(SCRIPTS)
    verdicts = list(importlib.import_module("recount_verdicts").recounted(importlib.import_module(name).CASES))
    assert len(verdicts) >= 30
    assert [(name, missing, text) for name, text, missing in verdicts if missing] == []
