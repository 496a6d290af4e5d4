"""The verdicts of shipped runs say what a script counts from their files without the code of the findings."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "recount_verdicts.py"


def test_at_least_thirty_verdicts_say_what_was_counted():
    found = importlib.util.spec_from_file_location("recount_verdicts", SCRIPT)
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    verdicts = list(script.recounted())
    assert len(verdicts) >= 30
    assert [(name, missing, text) for name, text, missing in verdicts if missing] == []
