"""The commands that predict."""

import json

import pytest
from typer.testing import CliRunner

from workbench.cli.main import app


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_estimate_prints_the_documented_keys():
    told = json.loads(
        call(
            "estimate",
            "meta-llama/Meta-Llama-3.1-8B",
            "h200-sxm",
            "--precision",
            "fp8",
            "--concurrency",
            "64",
            "--arrival",
            "static",
            "--json",
        ).stdout
    )
    for name in ("ttft_s", "prefill_s", "tpot_s", "output_tokens_per_s"):
        assert told[f"{name}_low"] < told[name] < told[f"{name}_high"]
    assert told["memory"]["does_fit"]
    assert told["is_calibrated"]
    assert told["provenance"] == "estimated"


def test_what_is_not_calibrated_says_so():
    text = call("estimate", "meta-llama/Meta-Llama-3.1-70B", "h100-sxm", "--tp", "4").output
    assert "Not calibrated" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("meta-llama/Meta-Llama-3.1-8B", "abacus"), "Unknown device"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--tp", "3"), "cannot be divided"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--precision", "fp1"), "Unknown precision"),
        (("Qwen/Qwen3-30B-A3B", "h200-sxm"), "has experts"),
    ],
)
def test_what_cannot_be_predicted_is_told(arguments, says):
    result = call("estimate", *arguments)
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())


def test_calibrate_fits_the_shipped_runs_and_keeps_the_constants(tmp_path):
    told = json.loads(call("calibrate", "--json").stdout)
    assert told["device_id"] == "h200-sxm"
    kept = tmp_path / "home" / "calibrations" / "h200-sxm.json"
    assert json.loads(kept.read_text()) == told
    assert len(told["sources"]) == 3
