"""Comparing loads and listing faults from the command line."""

import json

import pytest
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.catalog.paths import MEASURED


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_two_loads_are_compared_by_part_and_causes_ranked():
    files = [str(MEASURED / f"load_llama-3.1-8b-shape_conv-{share}-percent_h100.json") for share in (80, 95)]
    diagnosis = json.loads(call("diagnose", "--baseline", files[0], "--current", files[1], "--json").output)
    assert sum(diagnosis["parts"]["by_part_s"].values()) == pytest.approx(diagnosis["parts"]["change_s"])
    assert diagnosis["parts"]["by_part_s"]["queue"] > 0.3
    assert diagnosis["alarm"]
    assert diagnosis["provenance"] == "measured"
    assert diagnosis["causes"][0]["key"] == "surge"  # a fifth more requests, near saturation
    text = call("diagnose", "--baseline", "55b29db3350b", "--current", files[1]).output
    assert "Users notice" in text
    assert "queue" in text
    same = call("diagnose", "--baseline", files[0], "--current", files[0]).output
    assert "Users notice no change" in same
    assert call("diagnose", "--baseline", "nothing", "--current", files[1]).exit_code != 0


def test_faults_are_listed_and_odd_wishes_refused():
    text = call("faults", "--list").output
    assert "salted prefixes" in text
    assert "none: healthy" in text
    assert "no known doses" in " ".join(call("faults", "--doses", "huge").output.split())
